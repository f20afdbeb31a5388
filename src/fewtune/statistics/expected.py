"""The expected accuracy of a model that learned from all labels, estimated from held-out answers of models that learned from fewer.

How far the accuracy is from chance to perfect, a = (accuracy - chance) / (1 - chance), grows with the labels n as
log(a / (1 - a)) = const + slope log n: little where the accuracy is near chance or near 1. Few labels hardly show the slope, so what they
show is joined with what other data sets show (`USUAL_SLOPE`).

Reference: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927 (the interval); Bates, Hastie,
Tibshirani, "Cross-validation: what does it estimate and how well does it do it?", JASA 119, 2024 (held-out answers do not show which rows
were drawn).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.statistics.intervals import Interval, wilson_bounds
from fewtune.statistics.sample import Floats, Numbers, fraction, sample


@final
@dataclass(frozen=True)
class Slope:
    """How fast the log-odds of the accuracy above chance grow with the log of the labels; `spread` > 0: its standard deviation."""

    value: float
    spread: float


USUAL_SLOPE = Slope(value=0.55, spread=0.25)
"""Of the usual learners over the training classes of eleven data sets, 2 to 16 labels a class (docs/reproductions.md)."""

DRAWS, SPLITS = 1.1, 0.2
"""The expected minus the true accuracy has the variance (DRAWS + SPLITS / repeats) p (1 - p) / N: which rows were drawn, to learn from and
to ask, and how they fell into folds.
"""

RUNS = 0.002
"""How much one finetuning run differs from the next on the same labels: its accuracy has the variance RUNS p (1 - p), with many labels as
with few (`benchmarks/training_noise.py`, docs/reproductions.md).
"""

STEADY = 8.0
"""Rows, half-way between chance and perfect, that are added before the gain is read off: few rows scatter, and the gain is least at both
ends.
"""


def learning_slope(fewer: Numbers, more: Numbers, ratio: float, chance: float, prior: Slope = USUAL_SLOPE) -> Slope:
    """The slope that held-out answers show, joined with `prior` by the inverse of their variances.

    `fewer` and `more` [N >= 2]: how often each row was right (0 to 1) when the models learned from fewer and from `ratio` > 1 times as
    many labels. `chance` in [0, 1): the accuracy of guessing. The measured slope is the mean gain / ((1 - chance) a (1 - a) log ratio)
    at the mean of both accuracies, which counts one right and one wrong answer more; its variance is that of the paired differences,
    with 1 / N added because a few rows that did not change do not show that none would. The slope is at least 0.
    """
    a, b = _right(fewer, "fewer"), _right(more, "more")
    if a.shape != b.shape or len(a) < 2:
        raise ValueError(f"expected the same 2 or more rows at both sizes, found {len(a)} and {len(b)}.")
    if not ratio > 1:
        raise ValueError(f"expected a ratio above 1, found {ratio}.")
    n, gains = len(a), b - a
    above = _above(float((a.sum() + b.sum()) / 2 + 1) / (n + 2), chance)
    if above <= 0:
        return prior
    unit = (1 - chance) * above * (1 - above) * math.log(ratio)
    variance = (float(gains.var(ddof=1)) + 1 / n) / n / unit**2
    weight = prior.spread**2 / (prior.spread**2 + variance)
    value = (1 - weight) * prior.value + weight * float(gains.mean()) / unit
    return Slope(max(0.0, value), prior.spread * math.sqrt(1 - weight))


def expected_accuracy(
    correct: Numbers,
    share: float,
    chance: float,
    slope: Slope = USUAL_SLOPE,
    *,
    repeats: int = 1,
    excess: float = 0.0,
    runs: int = 0,
    level: float = 0.95,
) -> Interval:
    """The accuracy to expect of the model that learned from all N rows, with its interval.

    `correct` [N]: how often each row was right (0 to 1) while it was held out. `share` in (0, 1]: the part of the rows that the held-out
    answers' models learned from, `repeats` how many times the rows were split anew. `chance` in [0, 1): the accuracy of guessing. `excess`:
    by how much the held-out accuracy is too high because it was the best of several. `runs`: how many finetuning runs gave the held-out
    answers, one for each fold and repeat; 0 where nothing is finetuned.

    With p the accuracy carried on along the `slope` from a steadied accuracy (STEADY), the variance is (DRAWS + SPLITS / repeats) p (1 - p)
    / N plus ((1 - chance) a (1 - a) log share x spread)^2 and, after finetuning, RUNS (1 + 1 / runs) p (1 - p). The interval is Wilson's
    for the number of rows that would have this variance. It covers which rows were drawn, how they were split, the slope, and training.
    """
    right, level = _right(correct, "correct"), fraction(level)
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, found {share}.")
    if repeats < 1 or runs < 0:
        raise ValueError(f"expected at least 1 repeat and no runs below 0, found {repeats} and {runs}.")
    n = len(right)
    p = float(np.clip(right.mean() - excess, 0, 1))
    gain, each = _gain((p * n + STEADY * (1 + chance) / 2) / (n + STEADY), chance, share, slope)
    unsure, p = each * slope.spread, min(1.0, p + gain)
    likely = (p * n + 1) / (n + 2)  # where all or none were right, the variance is not known to be 0
    training = RUNS * (1 + 1 / runs) if runs else 0.0
    rows = 1 / ((DRAWS + SPLITS / repeats) / n + unsure**2 / (likely * (1 - likely)) + training)
    low, high = wilson_bounds(p, rows, level)
    return Interval(p, low, high, level, n, "learning curve, Wilson")


def carried_on(accuracy: float, times: float, chance: float, slope: Slope = USUAL_SLOPE) -> float:
    """The accuracy with `times` >= 1 as many labels, along the learning curve: its log-odds above chance grow by slope x log times.

    Raises ValueError for an accuracy outside [0, 1], a chance outside [0, 1), and fewer labels.
    """
    if not 0 <= accuracy <= 1 or not times >= 1:
        raise ValueError(f"expected an accuracy in 0..1 and at least as many labels, found {accuracy} and {times} times.")
    above = _above(accuracy, chance)
    if not 0 < above < 1:
        return accuracy
    return chance + (1 - chance) / (1 + (1 / above - 1) * float(times**-slope.value))


def _right(values: Numbers, what: str) -> Floats:
    x = sample(values, what)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"expected {what} between 0 and 1, found {x.min():g} to {x.max():g}.")
    return x


def _gain(accuracy: float, chance: float, share: float, slope: Slope) -> tuple[float, float]:
    """(what the accuracy gains from `share` of the labels to all, and how much more for each unit of slope)."""
    above = _above(accuracy, chance)
    if above <= 0:
        return 0.0, 0.0
    later = 1 / (1 + (1 / above - 1) * share**slope.value)
    return (1 - chance) * (later - above), -(1 - chance) * later * (1 - later) * math.log(share)


def _above(accuracy: float, chance: float) -> float:
    """How far an accuracy is from chance (0) to perfect (1); below 0 where it is worse than chance."""
    if not 0 <= chance < 1:
        raise ValueError(f"expected a chance of at least 0 and below 1, found {chance}.")
    return (accuracy - chance) / (1 - chance)
