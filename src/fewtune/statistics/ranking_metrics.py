"""Metrics of the order that scores give: they need no threshold. Each is the mean over classes (one against all others) or labels.

Predictions and truth as in `class_metrics`, of kind "class" or "multi"; scores of any scale will do.
"""

from __future__ import annotations

import math

import numpy as np

from fewtune.statistics.known import Flags, columns
from fewtune.statistics.ranks import ranked
from fewtune.statistics.sample import Floats, Numbers


def auc(prediction: Numbers, truth: Numbers) -> float:
    """The mean area under the ROC curve: the chance that a row of the class has a larger score than one of the others (ties: a half).

    Classes or labels whose known rows are all alike have none and are left out; where that leaves nothing, NaN. With two classes whose
    probabilities sum to 1 it is the area of either of them.
    """
    return _mean([_area(score, holds) for score, holds in columns(prediction, truth)])


def average_precision(prediction: Numbers, truth: Numbers) -> float:
    """The mean of sum_n (recall_n - recall_{n-1}) precision_n over the distinct scores, from the largest on (scikit-learn's definition).

    Classes or labels that hold for no known row are left out; where that leaves nothing, NaN. Chance gives the share of rows that hold.
    """
    return _mean([_precision(score, holds) for score, holds in columns(prediction, truth)])


def _area(score: Floats, holds: Flags) -> float:
    of, others = int(holds.sum()), int((~holds).sum())
    if of == 0 or others == 0:
        return math.nan
    return (float(ranked(score)[holds].sum()) - of * (of + 1) / 2) / (of * others)


def _precision(score: Floats, holds: Flags) -> float:
    if not holds.any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # rows of one score are taken together
    found = np.cumsum(holds[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def _mean(values: list[float]) -> float:
    some = [value for value in values if not math.isnan(value)]
    return sum(some) / len(some) if some else math.nan
