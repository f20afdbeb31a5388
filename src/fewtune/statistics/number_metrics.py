"""Metrics of answers that are one number: predictions [N], truth [N] (NaN: missing, left out). No known row gives NaN."""

from __future__ import annotations

import math

import numpy as np

from fewtune.statistics.known import known_numbers
from fewtune.statistics.ranks import ranked
from fewtune.statistics.sample import Floats, Numbers


def r2(prediction: Numbers, truth: Numbers) -> float:
    """1 - (sum of squared errors) / (that of the mean of the truth): 1 is right, 0 no better than the mean; NaN for a constant truth."""
    predicted, true = known_numbers(prediction, truth)
    if len(true) == 0 or true.min() == true.max():
        return math.nan
    return 1 - float(((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def rmse(prediction: Numbers, truth: Numbers) -> float:
    """The root of the mean squared error, in the units of the truth; lower is better."""
    predicted, true = known_numbers(prediction, truth)
    return math.sqrt(float(((predicted - true) ** 2).mean())) if len(true) else math.nan


def mae(prediction: Numbers, truth: Numbers) -> float:
    """The mean absolute error, in the units of the truth; lower is better."""
    errors = absolute_errors(prediction, truth)
    return float(errors.mean()) if len(errors) else math.nan


def spearman(prediction: Numbers, truth: Numbers) -> float:
    """The correlation of the ranks of predictions and truth (ties share the mean rank); NaN where either is constant."""
    predicted, true = (ranked(values) for values in known_numbers(prediction, truth))
    if len(true) == 0 or predicted.min() == predicted.max() or true.min() == true.max():
        return math.nan
    return float(np.corrcoef(predicted, true)[0, 1])


def absolute_errors(prediction: Numbers, truth: Numbers) -> Floats:
    """|prediction - truth| of the known rows [n]; their mean is the MAE."""
    predicted, true = known_numbers(prediction, truth)
    return np.abs(predicted - true)
