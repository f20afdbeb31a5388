"""fewtune adapts foundation models to a task with few labels, and says honestly whether finetuning helped.

    import fewtune
    adapted = fewtune.adapt("photos/", backbone="timm:mobilenetv2_100")
    adapted.save("runs/birds")
    fewtune.load("runs/birds").predict(["new.jpg"])

    fewtune.compare("photos.npz", methods=["centroid", "ridge(penalty=10)"], shots=[1, 5])

The names below are the front door; docs/stable.md says which of them will stay as they are. Each is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fewtune.version import __version__

if TYPE_CHECKING:
    from fewtune import learning, parts, recipes, statistics, tasks, testing
    from fewtune.adaptation.settings import AdaptSettings
    from fewtune.api.adapted import Adapted
    from fewtune.api.comparing import compare
    from fewtune.api.comparison import Comparison
    from fewtune.api.estimator import FewShotClassifier
    from fewtune.api.functions import Model, adapt, load
    from fewtune.api.settings import CompareSettings
    from fewtune.api.values import Data, Inputs
    from fewtune.backbones.backbone import Backbone
    from fewtune.backbones.load import load_backbone
    from fewtune.data.examples import Examples
    from fewtune.data.reading.read import read_examples
    from fewtune.errors import InputError
    from fewtune.evaluation.run_folder import Keeping
    from fewtune.evaluation.training_settings import Training
    from fewtune.learning.method import Method
    from fewtune.learning.phase import Adapt, Phase
    from fewtune.machine import Machine
    from fewtune.models.evaluate import Evaluation
    from fewtune.models.predict import Prediction
    from fewtune.recipes import read_method
    from fewtune.sources.settings import SourceSettings

# names and where they live; imported when first asked for, so that `import fewtune` and `fewtune --help` answer at once
_WHERE = {
    "Adapt": "fewtune.learning.phase",
    "AdaptSettings": "fewtune.adaptation.settings",
    "Adapted": "fewtune.api.adapted",
    "Backbone": "fewtune.backbones.backbone",
    "CompareSettings": "fewtune.api.settings",
    "Comparison": "fewtune.api.comparison",
    "Data": "fewtune.api.values",
    "Evaluation": "fewtune.models.evaluate",
    "Examples": "fewtune.data.examples",
    "FewShotClassifier": "fewtune.api.estimator",
    "InputError": "fewtune.errors",
    "Inputs": "fewtune.api.values",
    "Keeping": "fewtune.evaluation.run_folder",
    "Machine": "fewtune.machine",
    "Method": "fewtune.learning.method",
    "Model": "fewtune.api.functions",
    "Phase": "fewtune.learning.phase",
    "Prediction": "fewtune.models.predict",
    "SourceSettings": "fewtune.sources.settings",
    "Training": "fewtune.evaluation.training_settings",
    "adapt": "fewtune.api.functions",
    "compare": "fewtune.api.comparing",
    "load": "fewtune.api.functions",
    "load_backbone": "fewtune.backbones.load",
    "read_examples": "fewtune.data.reading.read",
    "read_method": "fewtune.recipes",
}

# rooms that open by their name, as in `fewtune.recipes.multitask(steps=100)`
_ROOMS = ("recipes", "learning", "parts", "tasks", "statistics", "testing")

__all__ = [
    "Adapt",
    "AdaptSettings",
    "Adapted",
    "Backbone",
    "CompareSettings",
    "Comparison",
    "Data",
    "Evaluation",
    "Examples",
    "FewShotClassifier",
    "InputError",
    "Inputs",
    "Keeping",
    "Machine",
    "Method",
    "Model",
    "Phase",
    "Prediction",
    "SourceSettings",
    "Training",
    "__version__",
    "adapt",
    "compare",
    "learning",
    "load",
    "load_backbone",
    "parts",
    "read_examples",
    "read_method",
    "recipes",
    "statistics",
    "tasks",
    "testing",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"fewtune.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'fewtune' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
