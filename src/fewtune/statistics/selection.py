"""The accuracy to expect of the best of several candidates: the winner's own held-out score is too good, because it won.

Reference: Tsamardinos, Greasidou, Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", Machine Learning 107, 2018 (BBC-CV).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval, wilson_interval
from fewtune.statistics.sample import CHUNK, Floats, Integers, fraction


def best_of_candidates(
    correct: npt.ArrayLike, labels: npt.ArrayLike | None = None, level: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """The expected accuracy of the candidate that the held-out answers choose, with its percentile interval.

    `correct` [C, N] in [0, 1]: how often each candidate was right on each item while it was held out (a mean over repeated splits),
    NaN where it never was. Items are resampled (within each class when `labels` [N] are given), the best candidate in the bag is
    chosen (the first of equals) and scored on the items left out; mean and percentiles are over the resamples. `n` counts the items used.
    The interval is on the safe side: it rests on the third of the items that a resample leaves out. Where all resamples agree (every answer
    was right, say) it is Wilson's for so many items. NaN bounds where fewer than two
    items were held out.
    """
    score, level = _scores(correct), fraction(level)
    if resamples < 100:
        raise ValueError(f"expected at least 100 resamples, found {resamples}.")
    classes = None if labels is None else np.asarray(labels)
    if classes is not None and classes.shape != score.shape[1:]:
        raise ValueError(f"expected one label for each of {score.shape[1]} items, found shape {classes.shape}.")
    held = ~np.isnan(score).all(0)
    if not held.any():
        raise ValueError("expected items that were held out at least once, found none.")
    score = score[:, held]
    strata = _strata(np.zeros(score.shape[1]) if classes is None else classes[held])
    left_out = _left_out_scores(score, strata, resamples, np.random.default_rng(seed))
    left_out = left_out[~np.isnan(left_out)]
    n = score.shape[1]
    if len(left_out) == 0:
        return Interval(float(np.nanmax(_means(np.ones((1, n)), score))), math.nan, math.nan, level, n, "bbc-cv")
    low, high = np.quantile(left_out, [(1 - level) / 2, (1 + level) / 2])
    if low == high:  # all alike, as where every answer was right: how sure that is depends on how many there were
        few = wilson_interval(round(float(left_out.mean()) * n), n, level)
        low, high = min(low, few.low), max(high, few.high)
    return Interval(float(left_out.mean()), float(low), float(high), level, n, "bbc-cv")


def _scores(correct: npt.ArrayLike) -> Floats:
    score: Floats = np.asarray(correct, dtype=np.float64)
    if score.ndim != 2 or score.size == 0:
        raise ValueError(f"expected correctness [candidates, items], found shape {score.shape}.")
    if not np.all(np.isnan(score) | ((score >= 0) & (score <= 1))):
        raise ValueError(f"expected correctness between 0 and 1, found {np.nanmin(score)} to {np.nanmax(score)}.")
    if np.isnan(score).all(1).any():
        raise ValueError("expected every candidate to answer some item, found one with none.")
    return score


def _strata(classes: npt.NDArray[np.generic]) -> list[Integers]:
    """Items to be resampled together: the classes. A class with one item would never be left out, so such items form one group, or join
    the smallest class.
    """
    _, index = np.unique(classes, return_inverse=True)
    groups = [np.flatnonzero(index == c) for c in range(int(index.max()) + 1)]
    several = sorted((g for g in groups if len(g) > 1), key=len)
    lone = [g for g in groups if len(g) == 1]
    if len(lone) == 1 and several:
        lone.append(several.pop(0))
    return [*several, np.concatenate(lone)] if lone else several


def _left_out_scores(score: Floats, strata: list[Integers], resamples: int, generator: np.random.Generator) -> Floats:
    """For each resample [R]: the mean on the items left out of the candidate that is best on those drawn; NaN where it has none."""
    found = np.full(resamples, np.nan)
    step = max(1, CHUNK // score.shape[1])
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = _draw(score.shape[1], strata, size, generator)
        inside = np.nan_to_num(_means(times, score), nan=-1.0)
        # Equal to rounding is equal: the first of them, as the one who chooses by the plain mean does.
        chosen = np.argmax(inside >= inside.max(1, keepdims=True) - 1e-9, axis=1)
        found[start : start + size] = _means((times == 0).astype(np.float64), score)[np.arange(size), chosen]
    return found


def _draw(items: int, strata: list[Integers], size: int, generator: np.random.Generator) -> Floats:
    """How often each item is drawn [size, items], with replacement within each stratum."""
    times = np.zeros((size, items))
    offset = np.arange(size)[:, None]
    for group in strata:
        n = len(group)
        drawn = generator.integers(n, size=(size, n)) + offset * n
        times[:, group] = np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n)
    return times


def _means(weights: Floats, score: Floats) -> Floats:
    """Weighted means [R, C] of the candidates over the items they answered; NaN where the weights leave none."""
    answered = (~np.isnan(score)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        means: Floats = (weights @ np.nan_to_num(score).T) / (weights @ answered.T)
    return means
