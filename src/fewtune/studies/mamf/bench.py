"""What all cells of one collection and seed share: its rows, their frozen features, and the templates of its class texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.class_roles import source_space, tasks_of
from fewtune.studies.mamf.division import Division, divide
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """`source`: training rows, and dev rows to choose by. `target`: dev and test rows, with their `features` [N, D] by the backbone."""

    name: str
    seed: int
    backbone: Backbone
    division: Division
    source: RowSpace
    target: RowSpace
    features: Tensor
    prompts: tuple[str, ...]

    @property
    def tasks(self) -> Tasks:
        """What training draws from."""
        found = tasks_of(self.source, "train", "all")
        assert found is not None
        return found


def make_bench(examples: Examples, backbone: Backbone, settings: MamfSettings, seed: int, *, quiet: bool = True) -> Bench:
    """The rows of one collection as one seed divides them. Raises InputError where they do not fit the settings or cannot be read."""
    division = divide(examples, settings, seed)
    read = [readable_features(part, backbone, memory=True, quiet=quiet) for part in (division.dev, division.test)]
    source = source_space([division.train, division.dev], skip_bad=False, memory=2.0)
    assert source is not None
    target, features = RowSpace([division.dev, division.test]), torch.cat([one[1] for one in read])
    return Bench(examples.name, seed, backbone, division, source, target, features, prompts_of(examples, settings))


def prompts_of(examples: Examples, settings: MamfSettings) -> tuple[str, ...]:
    """The templates of class texts: those asked for, those of the collection, or usual ones."""
    usual = ("a photo of a {}.",) if examples.modality == "image" else ("{}",)
    return settings.prompts or examples.column.templates or usual


def check_backbone(backbone: Backbone, examples: Examples) -> None:
    """Raise InputError for a backbone that cannot read class names or these rows."""
    if not backbone.label_side:
        raise InputError(
            f"backbone {backbone.name!r} has no label side (text encoder), and all methods of this study answer by class names: give an "
            "image-text model such as open_clip:ViT-B-32/laion2b_s34b_b79k, or a text encoder for texts."
        )
    if examples.modality != backbone.preparation.modality:
        raise InputError(f"the backbone takes {backbone.preparation.modality}s, but {examples.name} holds {examples.modality}s.")
