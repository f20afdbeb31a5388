"""Ranks of numbers; average ranks of several methods on several datasets, whether they differ at all, and which pairs do."""

from __future__ import annotations

import math

import numpy as np

from fewtune.statistics.sample import Floats, Numbers, finite, fraction


def average_ranks(scores: Numbers) -> Floats:
    """The mean rank of each method [M] from scores [M, D], higher is better: 1 is the best, ties share the mean of their ranks.

    Scores equal to 12 digits are ties (means of the same numbers in another order are not bitwise equal).
    """
    means: Floats = _ranks(scores).mean(1)
    return means


def friedman_test(scores: Numbers) -> float:
    """The p of "all methods have the same average rank" from scores [M, D] (Friedman 1937; chi-squared, with the correction for ties).

    The approximation needs about D > 10 and M > 5 (Demšar 2006). Methods that are tied everywhere give p = 1. Raises ValueError for fewer
    than two methods or two datasets.
    """
    from scipy.special import chdtrc

    ranks = _ranks(scores)
    m, d = ranks.shape
    if m < 2 or d < 2:
        raise ValueError(f"expected scores of at least 2 methods on 2 datasets, found {m} and {d}.")
    spread = float(((ranks - (m + 1) / 2) ** 2).sum()) / (d * (m - 1))
    if spread == 0:
        return 1.0
    between = float(((ranks.mean(1) - (m + 1) / 2) ** 2).sum())
    return float(chdtrc(m - 1, d * between / spread))


def nemenyi_difference(methods: int, datasets: int, level: float = 0.95) -> float:
    """The critical difference of average ranks, q sqrt(M (M + 1) / (6 D)): pairs further apart differ (Nemenyi 1963; Demšar 2006).

    Raises ValueError for fewer than two methods, for no dataset and for a level outside (0, 1).
    """
    from scipy.stats import studentized_range

    level = fraction(level)
    if methods < 2 or datasets < 1:
        raise ValueError(f"expected at least 2 methods and 1 dataset, found {methods} and {datasets}.")
    q = float(studentized_range.ppf(level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * datasets))


def ranked(values: Floats) -> Floats:
    """The ranks [n] of numbers [n], 1 for the smallest; equal numbers share the mean of their ranks. (No import of scipy.stats.)"""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _ranks(scores: Numbers) -> Floats:
    from scipy.stats import rankdata  # takes a second to import

    x = finite(scores, "scores")
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"expected scores [methods, datasets], found shape {x.shape}.")
    largest = float(np.abs(x).max()) or 1.0
    ranks: Floats = rankdata(-np.round(x / largest, 12), axis=0)
    return ranks
