"""Ranks of numbers, and average ranks of several methods on several datasets."""

from __future__ import annotations

import numpy as np

from fewtune.statistics.sample import Floats, Numbers, finite


def average_ranks(scores: Numbers) -> Floats:
    """The mean rank of each method [M] from scores [M, D], higher is better: 1 is the best, ties share the mean of their ranks.

    Scores equal to 12 digits are ties (means of the same numbers in another order are not bitwise equal).
    """
    means: Floats = _ranks(scores).mean(1)
    return means


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
