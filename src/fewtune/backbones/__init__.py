"""Foundation models as pure functions from named weights and rows to features.

The name of a model (`load_backbone`) or your own network (`Backbone.of`) comes in, a `Backbone` comes out. `providers` has one file a
library, `features` keeps features on disk, `cutting` computes the frozen part of a network once, edits such as `LoRA` change weights.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"fewtune.backbones.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"fewtune.backbones.{_WHERE[name]}"), name)
