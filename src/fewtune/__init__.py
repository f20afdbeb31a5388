"""fewtune adapts foundation models to a target task with few labels, and says honestly whether finetuning helped.

import fewtune
adapted = fewtune.adapt("photos/", backbone="timm:mobilenetv2_100", weights="w.safetensors")
adapted.save("runs/birds")
fewtune.load("runs/birds").predict(["new.jpg"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fewtune.version import __version__

if TYPE_CHECKING:
    from fewtune.api.adapted import Adapted
    from fewtune.api.estimator import FewShotClassifier
    from fewtune.api.functions import Model, adapt, load
    from fewtune.backbones.load import load_backbone
    from fewtune.data.examples import Examples
    from fewtune.data.reading.read import read_examples
    from fewtune.machine import Machine
    from fewtune.sources.settings import SourceSettings

# names and where they live; imported when first asked for, so that `fewtune --help` answers at once
_WHERE = {
    "Adapted": "fewtune.api.adapted",
    "SourceSettings": "fewtune.sources.settings",
    "Model": "fewtune.api.functions",
    "adapt": "fewtune.api.functions",
    "load": "fewtune.api.functions",
    "FewShotClassifier": "fewtune.api.estimator",
    "load_backbone": "fewtune.backbones.load",
    "Examples": "fewtune.data.examples",
    "read_examples": "fewtune.data.reading.read",
    "Machine": "fewtune.machine",
}

# rooms that open by their name, as in `fewtune.recipes.multitask(steps=100)`
_ROOMS = ("recipes", "learning", "parts", "tasks", "statistics")

__all__ = [
    "Adapted",
    "Examples",
    "FewShotClassifier",
    "Machine",
    "Model",
    "SourceSettings",
    "__version__",
    "adapt",
    "load",
    "load_backbone",
    "read_examples",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"fewtune.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'fewtune' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
