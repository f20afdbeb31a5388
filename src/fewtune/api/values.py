"""Types and checks that the public functions share: what data, inputs and a backbone may be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from PIL.Image import Image
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.examples import Examples
from fewtune.data.items import Modality
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from fewtune.models.named_backbone import load_backbone
from fewtune.models.reading_texts import NO_OPTIONS, backbone_for
from fewtune.models.starts import starts_of


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


def targets_of(targets: object) -> list[Examples]:
    """Each target read. Raises InputError where one collection is given instead of a list of them."""
    if isinstance(targets, str | Path | Examples) or not isinstance(targets, list | tuple):
        raise InputError("expected a list of more data to test on, found one collection: write targets=[...].")
    return [examples_of(one) for one in targets]


def backbones_of(backbone: Any, targets: Sequence[Examples], texts: TextOptions = NO_OPTIONS) -> list[Backbone]:
    """The backbones, one or several; None is one that suits the data. `texts`: how texts are read. Raises InputError for targets of several
    modalities and for two backbones of one name.
    """
    refuse_modalities(targets)
    asked = backbone if isinstance(backbone, list | tuple) else [backbone]
    for one in asked:
        check_backbone(one)
    found = [backbone_for(targets[0], one, texts) for one in asked]
    refuse_twins(found)
    return found


def started(backbone: object, starts: object) -> list[str]:
    """The names of the starts of one backbone. Raises InputError where that is not one name, or the starts are no list of words."""
    if not isinstance(starts, list | tuple) or not all(isinstance(one, str) for one in starts):
        raise InputError('expected a list of starts, such as starts=["pretrained", "random"].')
    if backbone is not None and not isinstance(backbone, str):
        raise InputError("starts are those of one backbone that is given by its name: backbone='timm:NAME'.")
    return [name for name, _ in starts_of(backbone, starts)]


def refuse_modalities(targets: Sequence[Examples]) -> None:
    """Raise InputError where the targets are of several modalities."""
    if len({one.modality for one in targets}) > 1:
        listed = ", ".join(f"{one.name} holds {one.modality}s" for one in targets)
        raise InputError(f"expected targets of one modality, but {listed}: compare them one by one.")


def refuse_twins(backbones: Sequence[Backbone]) -> None:
    """Raise InputError where two backbones have one name."""
    names = [one.name for one in backbones]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"backbone {twin!r} is given twice: give each once.")


def backbone_of(backbone: Backbone | str | None, modality: Modality) -> Backbone:
    """The backbone itself, or the one of a name; None is one that suits the data. Raises InputError for anything else."""
    check_backbone(backbone)
    return backbone if isinstance(backbone, Backbone) else load_backbone(chosen(backbone, modality))


def check_backbone(backbone: object) -> None:
    """Raise InputError for what is neither a backbone nor the name of one."""
    if isinstance(backbone, nn.Module):
        raise InputError(
            f"a {type(backbone).__name__} alone does not say how its inputs are prepared: write "
            "backbone=fewtune.Backbone.of(module, size=...)."
        )
    if backbone is not None and not isinstance(backbone, Backbone | str):
        raise InputError(f"expected a backbone's name or a fewtune.Backbone, found a {type(backbone).__name__}.")
