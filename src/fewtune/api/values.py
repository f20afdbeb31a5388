"""Types and checks that the public functions share: what data, inputs and a backbone may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeAlias

from PIL.Image import Image
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen
from fewtune.data.examples import Examples
from fewtune.data.items import Modality
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from fewtune.models.named_backbone import load_backbone


class Rows(Protocol):
    """Anything with a length and rows by place or name: a list, a pair (x, y), an array, a mapping, a data frame, a Dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: Any, /) -> Any: ...


Data: TypeAlias = Examples | Path | str | Rows  # what `read_examples` reads: labelled rows
Inputs: TypeAlias = Data | bytes | Image  # what `predict` labels: rows without labels, or one picture


def examples_of(data: Data) -> Examples:
    """Labelled rows from anything that can be read. Raises InputError where it cannot."""
    return data if isinstance(data, Examples) else read_examples(data)


def sources_of(sources: object) -> list[Examples]:
    """Each source read. Raises InputError where one collection is given instead of a list of them."""
    if isinstance(sources, str | Path | Examples) or not isinstance(sources, list | tuple):
        raise InputError("expected a list of other data as the sources, found one collection: write sources=[...].")
    return [examples_of(one) for one in sources]


def backbone_of(backbone: Backbone | str | None, modality: Modality) -> Backbone:
    """The backbone itself, or the one of a name; None is one that suits the data. Raises InputError for anything else."""
    if isinstance(backbone, Backbone):
        return backbone
    if isinstance(backbone, nn.Module):
        raise InputError(
            f"a {type(backbone).__name__} alone does not say how its inputs are prepared: write "
            "backbone=fewtune.Backbone.of(module, size=...)."
        )
    if backbone is not None and not isinstance(backbone, str):
        raise InputError(f"expected a backbone's name or a fewtune.Backbone, found a {type(backbone).__name__}.")
    return load_backbone(chosen(backbone, modality))
