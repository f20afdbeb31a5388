"""The backbone that is used if none is named, and those that small, base and large stand for."""

from __future__ import annotations

from fewtune.backbones.known import KNOWN, SIZES
from fewtune.data.items import Modality
from fewtune.errors import InputError


def default_backbone(modality: Modality) -> str:
    """For vectors, the vectors themselves; for images and texts, the small model."""
    return "precomputed" if modality == "vector" else sized(SIZES[0], modality)


def sized(size: str, modality: Modality) -> str:
    """The name of the model that a size stands for, for images or texts."""
    return next(model.name for model in KNOWN if model.size == size and model.modality == modality)


def is_size(name: str) -> bool:
    """Whether a backbone's name is small, base or large, with options after commas or without."""
    return name.partition(",")[0] in SIZES


def chosen(name: str | None, modality: Modality) -> str:
    """The full name of a backbone for data of a modality: the default for None, the model of a size, else the name itself.

    >>> chosen("base,pooling=cls", "image")
    'hf:facebook/dinov2-base,pooling=cls'
    """
    if not name:
        return default_backbone(modality)
    if not is_size(name):
        return name
    size, comma, options = name.partition(",")
    if modality == "vector":
        raise InputError(f"the backbone {size} is for images and texts, but the data holds embeddings: leave --backbone and --start out.")
    return sized(size, modality) + comma + options
