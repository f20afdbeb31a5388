"""What `import fewtune` shows: `adapt`, `compare` and `load` from Python, what they return, and the scikit-learn estimator.

Data, names of backbones and texts of methods come in; models (`Adapted`, `Model`) and results (`Comparison`) come out. The command line
calls the same functions. Each name is imported when it is first asked for, because torch and scikit-learn take seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.api.adapted import Adapted
    from fewtune.api.comparing import compare
    from fewtune.api.comparison import Comparison
    from fewtune.api.estimator import FewShotClassifier
    from fewtune.api.functions import Model, adapt, from_names, load
    from fewtune.api.settings import CompareSettings

_WHERE = {
    "Adapted": "adapted",
    "CompareSettings": "settings",
    "Comparison": "comparison",
    "FewShotClassifier": "estimator",
    "Model": "functions",
    "adapt": "functions",
    "compare": "comparing",
    "load": "functions",
}

__all__ = ["Adapted", "CompareSettings", "Comparison", "FewShotClassifier", "Model", "adapt", "compare", "from_names", "load"]

__getattr__, __dir__ = opened(__name__, _WHERE)
