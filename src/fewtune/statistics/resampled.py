"""Repeated random splits of one dataset: their scores are correlated, and the variance is corrected for it.

Reference: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003: the variance of the mean over J
splits is estimated by (1 / J + n_test / n_train) s^2 instead of s^2 / J.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtr, stdtrit

from fewtune.statistics.intervals import Interval, mean_of, standard_error, symmetric
from fewtune.statistics.sample import Floats, Numbers, fraction, positive, sample


def corrected_resampled_interval(values: Numbers, n_train: float, n_test: float, level: float = 0.95) -> Interval:
    """The corrected t interval of scores [J] over J random splits into n_train and n_test items. NaN bounds for J = 1."""
    x, level = sample(values), fraction(level)
    quantile = float(stdtrit(max(len(x) - 1, 1), (1 + level) / 2))
    return symmetric(mean_of(x), quantile * _standard_error(x, n_train, n_test), level, len(x), "corrected resampled t")


def corrected_resampled_test(differences: Numbers, n_train: float, n_test: float) -> float:
    """The two-sided p of "two methods score the same" from their differences [J] on the same J splits.

    Constant differences give p = 1 when they are 0, and otherwise 0. Raises ValueError for fewer than 2.
    """
    x = sample(differences, "differences")
    if len(x) < 2:
        raise ValueError("expected the differences of at least 2 splits, found 1.")
    mean, error = mean_of(x), _standard_error(x, n_train, n_test)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(len(x) - 1, -abs(mean) / error))


def _standard_error(x: Floats, n_train: float, n_test: float) -> float:
    ratio = positive(n_test, "n_test") / positive(n_train, "n_train")
    return standard_error(x) * math.sqrt(1 + float(np.size(x)) * ratio)
