"""How often the right one of a few classes scores highest, over all choices of the others: exact, without drawing episodes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.special import gammaln

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


def several_ways_accuracy(scores: np.ndarray[Any, Any], own: Integers, ways: int) -> Floats:
    """For each row [N], the chance in [0, 1] that its own class scores higher than `ways` - 1 others, drawn without replacement.

    `scores` [N, K]: of each row with each class. `own` [N]: the right class. 2 <= `ways` <= K. With r classes that score at least as high
    as the own one, the chance is C(K - 1 - r, ways - 1) / C(K - 1, ways - 1). The mean over rows is what episodes of `ways` classes have on
    average.

    >>> several_ways_accuracy(np.array([[0.9, 0.1, 0.5], [0.9, 0.5, 0.1]]), np.array([0, 1]), 2).tolist()
    [1.0, 0.5]
    """
    classes = scores.shape[1]
    assert 2 <= ways <= classes
    right = np.take_along_axis(scores, own[:, None], axis=1)
    above = (scores >= right).sum(axis=1) - 1
    left = classes - 1 - np.arange(classes)
    enough = left >= ways - 1
    held = np.where(enough, left, ways - 1)
    logs = gammaln(held + 1) - gammaln(held - ways + 2) - (gammaln(classes) - gammaln(classes - ways + 1))
    chance = np.where(enough, np.exp(logs), 0.0)
    chance[0] = 1.0
    found: Floats = chance[above]
    return found


def class_means(values: Floats, own: Integers, classes: int) -> Floats:
    """The mean of each class [K]; NaN for a class without rows."""
    count = np.bincount(own, minlength=classes)
    total = np.bincount(own, weights=values, minlength=classes)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found
