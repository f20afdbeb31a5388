"""fewtune adapts foundation models to a task with few labels, and says honestly whether finetuning helped.

    import fewtune
    adapted = fewtune.adapt("photos/", backbone="timm:mobilenetv2_100")
    adapted.save("runs/birds")
    fewtune.load("runs/birds").predict(["new.jpg"])

    fewtune.compare("photos.npz", methods=["centroid", "ridge(penalty=10)"], shots=[1, 5])

The names below are the front door; docs/stable.md says which of them will stay as they are. Each is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened
from fewtune.version import __version__

if TYPE_CHECKING:
    from fewtune import learning, parts, recipes, statistics, studies, tasks, testing, transfer
    from fewtune.adaptation.settings import AdaptSettings
    from fewtune.api.adapted import Adapted
    from fewtune.api.aligning import align
    from fewtune.api.columns import AdaptedColumns, Columns, ColumnsModel, load_columns
    from fewtune.api.comparing import compare
    from fewtune.api.comparison import Comparison
    from fewtune.api.estimator import FewShotClassifier
    from fewtune.api.functions import Model, adapt, from_names, load
    from fewtune.api.mamf import MamfStudy, mamf_study
    from fewtune.api.pretraining import pretrain
    from fewtune.api.regressor import FewShotMultiOutput, FewShotRegressor
    from fewtune.api.settings import CompareSettings
    from fewtune.api.values import Data, Inputs
    from fewtune.backbones.backbone import Backbone
    from fewtune.backbones.providers.text_options import TextOptions
    from fewtune.data.examples import Examples
    from fewtune.data.reading.read import read_examples
    from fewtune.errors import InputError
    from fewtune.evaluation.run_folder import Keeping
    from fewtune.evaluation.training_settings import Training
    from fewtune.learning.method import Method
    from fewtune.learning.phase import Adapt, Phase
    from fewtune.machine import Machine
    from fewtune.models.evaluate import Evaluation
    from fewtune.models.named_backbone import load_backbone
    from fewtune.models.predict import Prediction
    from fewtune.pretraining.align_settings import AlignSettings
    from fewtune.pretraining.outcome import Pretrained
    from fewtune.pretraining.settings import PretrainSettings
    from fewtune.recipes import read_method
    from fewtune.sides.settings import OwnSettings
    from fewtune.sources.settings import SourceSettings
    from fewtune.studies.mamf.settings import MamfSettings

# names and where they live; imported when first asked for, so that `import fewtune` and `fewtune --help` answer at once
_WHERE = {
    "Adapt": "learning.phase",
    "AdaptSettings": "adaptation.settings",
    "Adapted": "api.adapted",
    "AdaptedColumns": "api.columns",
    "AlignSettings": "pretraining.align_settings",
    "Backbone": "backbones.backbone",
    "Columns": "api.columns",
    "ColumnsModel": "api.columns",
    "CompareSettings": "api.settings",
    "Comparison": "api.comparison",
    "Data": "api.values",
    "Evaluation": "models.evaluate",
    "Examples": "data.examples",
    "FewShotClassifier": "api.estimator",
    "FewShotMultiOutput": "api.regressor",
    "FewShotRegressor": "api.regressor",
    "InputError": "errors",
    "Inputs": "api.values",
    "Keeping": "evaluation.run_folder",
    "Machine": "machine",
    "MamfSettings": "studies.mamf.settings",
    "MamfStudy": "api.mamf",
    "Method": "learning.method",
    "Model": "api.functions",
    "OwnSettings": "sides.settings",
    "Phase": "learning.phase",
    "Prediction": "models.predict",
    "PretrainSettings": "pretraining.settings",
    "Pretrained": "pretraining.outcome",
    "SourceSettings": "sources.settings",
    "TextOptions": "backbones.providers.text_options",
    "Training": "evaluation.training_settings",
    "adapt": "api.functions",
    "align": "api.aligning",
    "compare": "api.comparing",
    "from_names": "api.functions",
    "load": "api.functions",
    "load_backbone": "models.named_backbone",
    "load_columns": "api.columns",
    "mamf_study": "api.mamf",
    "pretrain": "api.pretraining",
    "read_examples": "data.reading.read",
    "read_method": "recipes",
}

# rooms that open by their name, as in `fewtune.recipes.multitask(steps=100)`
_ROOMS = ("backbones", "data", "files", "recipes", "learning", "parts", "tasks", "statistics", "studies", "testing", "transfer")

__all__ = [
    "Adapt",
    "AdaptSettings",
    "Adapted",
    "AdaptedColumns",
    "AlignSettings",
    "Backbone",
    "Columns",
    "ColumnsModel",
    "CompareSettings",
    "Comparison",
    "Data",
    "Evaluation",
    "Examples",
    "FewShotClassifier",
    "FewShotMultiOutput",
    "FewShotRegressor",
    "InputError",
    "Inputs",
    "Keeping",
    "Machine",
    "MamfSettings",
    "MamfStudy",
    "Method",
    "Model",
    "OwnSettings",
    "Phase",
    "Prediction",
    "PretrainSettings",
    "Pretrained",
    "SourceSettings",
    "TextOptions",
    "Training",
    "__version__",
    "adapt",
    "align",
    "compare",
    "from_names",
    "learning",
    "load",
    "load_backbone",
    "load_columns",
    "mamf_study",
    "parts",
    "pretrain",
    "read_examples",
    "read_method",
    "recipes",
    "statistics",
    "studies",
    "tasks",
    "testing",
    "transfer",
]

__getattr__, _ = opened(__name__, _WHERE, _ROOMS)


def __dir__() -> list[str]:
    return sorted(__all__)
