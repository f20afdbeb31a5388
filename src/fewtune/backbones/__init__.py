"""Foundation models as pure functions from named weights and rows to features.

The name of a model (`load_backbone`) or your own network (`Backbone.of`) comes in, a `Backbone` comes out. `providers` has one file a
library, `features` keeps features on disk, `cutting` computes the frozen part of a network once, edits such as `LoRA` change weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone, Weights
    from fewtune.backbones.edits import LoRA
    from fewtune.backbones.load import load_backbone
    from fewtune.backbones.preparation import ImagePreparation, Prepared, VectorPreparation

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Backbone": "backbone",
    "ImagePreparation": "preparation",
    "LoRA": "edits",
    "Prepared": "preparation",
    "VectorPreparation": "preparation",
    "Weights": "backbone",
    "load_backbone": "load",
}
_ROOMS = ("cutting", "features", "providers")

__all__ = [
    "Backbone",
    "ImagePreparation",
    "LoRA",
    "Prepared",
    "VectorPreparation",
    "Weights",
    "load_backbone",
]

__getattr__, __dir__ = opened(__name__, _WHERE, _ROOMS)
