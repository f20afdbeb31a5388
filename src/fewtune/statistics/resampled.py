"""Differences on rows that are held out in turn. The learners that answer them share most of their training rows.

Reference: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003: the variance of the mean over J
splits is estimated by (1 / J + n_test / n_train) s^2 instead of s^2 / J, where s^2 is the variance of one split.
"""

from __future__ import annotations

import math

from fewtune.statistics.intervals import Interval, mean_of, standard_error, symmetric
from fewtune.statistics.paired import sign_flip_test, two_sided
from fewtune.statistics.sample import Numbers, fraction, sample
from fewtune.statistics.special import stdtrit


def held_out_difference(differences: Numbers, folds: int, level: float = 0.95) -> tuple[Interval, float]:
    """The mean difference [N rows] of two learners on rows held out in `folds` >= 2 folds: its interval and its two-sided p.

    A fold has N / folds rows and is answered from (folds - 1) / folds of them, so the corrected variance of the mean is s^2 / N (1 + folds
    / (folds - 1)) with s^2 that of the rows; t with N - 1 degrees of freedom. Differences may be means over repeated splits; repeats do not
    narrow the interval here. p is never smaller than that of the sign-flip test: differences that are all equal would otherwise give p = 0.
    One row: NaN bounds and p = 1.
    """
    x, level = sample(differences, "differences"), fraction(level)
    mean, error = mean_of(x), standard_error(x) * spread_of_folds(folds)
    interval = symmetric(mean, float(stdtrit(max(len(x) - 1, 1), (1 + level) / 2)) * error, level, len(x), "corrected resampled t")
    return interval, max(two_sided(mean, error, len(x) - 1), sign_flip_test(x))


def spread_of_folds(folds: int) -> float:
    """The factor, sqrt(1 + folds / (folds - 1)), by which an error over held-out rows is larger than over rows that share no learner."""
    if folds < 2:
        raise ValueError(f"expected at least 2 folds, found {folds}.")
    return math.sqrt(1 + folds / (folds - 1))
