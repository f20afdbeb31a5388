"""What held-out answers say of the model that is saved: it learns from all labels, and every fold from a part of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.folds import Splits, random_order, with_fewer
from fewtune.statistics import USUAL_SLOPE, Slope, learning_slope
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SLOPE_REPEATS = 5  # of the splits that are answered once more, from half of their labels


def share_learned(splits: Splits) -> float:
    """The part of the labelled rows, in (0, 1), that the folds learn from: the geometric mean over the rows that they answer."""
    assert splits.episodes is not None
    support, query = (rows_of(rows) for rows in (splits.episodes.support, splits.episodes.query))
    return math.exp(float(np.average(np.log(support / (support + query)), weights=query)))


def single_rows(splits: Splits) -> bool:
    """Whether every fold learns from a single row of each class."""
    assert splits.episodes is not None
    return all(int(torch.bincount(label[label >= 0]).max()) == 1 for label in splits.episodes.support_label)


def chance_of(labels: Integers) -> float:
    """The accuracy of guessing each class as often as it occurs."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float((shares**2).sum())


def measured_slope(splits: Splits, correct: Floats, answer: Callable[[Splits], Floats], chance: float, seed: int) -> Slope:
    """The slope of a learner's learning curve: the same rows answered from half of each class and from all that a fold learns from.

    `correct` [N]: how often each labelled row was right while `splits` held it out, NaN where they never did; `answer(splits)` gives the
    same for splits with fewer rows to learn from. Where folds learn from a single row of each class there is no half, and the slope is
    the usual one.
    """
    assert splits.episodes is not None
    held = ~np.isnan(correct)
    if single_rows(splits) or held.sum() < 2:
        return USUAL_SLOPE
    halves = with_fewer(splits, random_order(splits.episodes, key(seed, "slope")), half_of_each_class(splits.episodes))
    assert halves.episodes is not None
    ratio = float(rows_of(splits.episodes.support).sum() / rows_of(halves.episodes.support).sum())
    return learning_slope(answer(halves)[held], correct[held], ratio, chance)


def rows_of(padded: Any) -> Floats:
    """How many rows [E] are no padding."""
    counted: Floats = (padded >= 0).sum(1).double().numpy()
    return counted


def half_of_each_class(episodes: Episodes) -> Any:
    """Of every support row [E, S]: half the rows of its class in its episode, rounded up."""
    label = episodes.support_label.numpy()
    half = np.zeros_like(label)
    for e, mine in enumerate(label):
        counts = np.bincount(mine[mine >= 0])
        half[e] = np.where(mine >= 0, (counts[mine] + 1) // 2, 0)
    return half
