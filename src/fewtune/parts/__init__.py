"""What methods are made of, each part a small description that a method's text can name.

`heads` turn features into answers, `losses` say what an answer costs, `aggregators` combine the gradients of several tasks. A `Plan` says
which weights move at which `Rate`, an optimizer how, and a `Keep` which weights a phase ends with.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewtune.parts.aggregators import AGGREGATORS, Aggregator, Fixed, Mean, PcGrad, WorstCase
    from fewtune.parts.heads import HEADS, Centroid, Head, Linear, Logistic, Matching, Ridge, Svm, Text, TextPrior
    from fewtune.parts.keep import KEEPS, Best, Ema, Keep, Last, Swa
    from fewtune.parts.losses import (
        LOSSES,
        Anchor,
        BinaryCrossEntropy,
        Contrast,
        CrossEntropy,
        Displacement,
        Distil,
        Entropy,
        Loss,
        Outcome,
        SquaredError,
    )
    from fewtune.parts.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RAdam
    from fewtune.parts.plan import PLANS, Plan, bias_and_norm, everything, gradual, layerwise, one_group, only
    from fewtune.parts.rates import RATES, After, Constant, Cosine, Learned, LinearDecay, Rate, Steps

# where each name lives; imported when first asked for, so that a file of this room that needs no torch loads none
_WHERE = {
    "AGGREGATORS": "aggregators",
    "Aggregator": "aggregators",
    "Fixed": "aggregators",
    "Mean": "aggregators",
    "PcGrad": "aggregators",
    "WorstCase": "aggregators",
    "Centroid": "heads",
    "HEADS": "heads",
    "Head": "heads",
    "Linear": "heads",
    "Logistic": "heads",
    "Matching": "heads",
    "Ridge": "heads",
    "Svm": "heads",
    "Text": "heads",
    "TextPrior": "heads",
    "Best": "keep",
    "Ema": "keep",
    "KEEPS": "keep",
    "Keep": "keep",
    "Last": "keep",
    "Swa": "keep",
    "Anchor": "losses",
    "BinaryCrossEntropy": "losses",
    "Contrast": "losses",
    "CrossEntropy": "losses",
    "Displacement": "losses",
    "Distil": "losses",
    "Entropy": "losses",
    "LOSSES": "losses",
    "Loss": "losses",
    "Outcome": "losses",
    "SquaredError": "losses",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "OPTIMIZERS": "optimizers",
    "Optimizer": "optimizers",
    "RAdam": "optimizers",
    "SGD": "optimizers",
    "PLANS": "plan",
    "Plan": "plan",
    "bias_and_norm": "plan",
    "everything": "plan",
    "gradual": "plan",
    "layerwise": "plan",
    "one_group": "plan",
    "only": "plan",
    "After": "rates",
    "Constant": "rates",
    "Cosine": "rates",
    "Learned": "rates",
    "LinearDecay": "rates",
    "RATES": "rates",
    "Rate": "rates",
    "Steps": "rates",
}
_ROOMS = ("aggregators", "heads", "losses")

__all__ = [
    "AGGREGATORS",
    "HEADS",
    "KEEPS",
    "LOSSES",
    "OPTIMIZERS",
    "PLANS",
    "RATES",
    "SGD",
    "Adam",
    "AdamW",
    "After",
    "Aggregator",
    "Anchor",
    "Best",
    "BinaryCrossEntropy",
    "Centroid",
    "Constant",
    "Contrast",
    "Cosine",
    "CrossEntropy",
    "Displacement",
    "Distil",
    "Ema",
    "Entropy",
    "Fixed",
    "Head",
    "Keep",
    "Last",
    "Learned",
    "Linear",
    "LinearDecay",
    "Logistic",
    "Loss",
    "Matching",
    "Mean",
    "Optimizer",
    "Outcome",
    "PcGrad",
    "Plan",
    "RAdam",
    "Rate",
    "Ridge",
    "SquaredError",
    "Steps",
    "Svm",
    "Swa",
    "Text",
    "TextPrior",
    "WorstCase",
    "bias_and_norm",
    "everything",
    "gradual",
    "layerwise",
    "one_group",
    "only",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
