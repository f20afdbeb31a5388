"""Intervals of a mean: over episodes, over items, over training seeds, and of a proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import CHUNK, Floats, Numbers, fraction, positive, sample
from fewtune.statistics.special import ndtri, stdtrit


@final
@dataclass(frozen=True)
class Interval:
    """A mean and the bounds around it, in the units of the values; `kind` says how the bounds were made.

    The bounds are NaN where they cannot be known (n = 1). `n` counts what was treated as independent: episodes, items or seeds.
    """

    mean: float
    low: float
    high: float
    level: float
    n: int
    kind: str

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds (the `±` of a table)."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def symmetric(mean: float, half: float, level: float, n: int, kind: str) -> Interval:
    """The interval mean ± half."""
    return Interval(float(mean), float(mean - half), float(mean + half), level, n, kind)


def mean_of(values: Floats) -> float:
    """The mean. Rounding cannot take it outside the range of the values (the mean of seven 0.1 is 0.1)."""
    return float(np.clip(values.mean(), values.min(), values.max()))


def standard_error(values: Floats) -> float:
    """sd / sqrt(n) with the n - 1 divisor; NaN for n = 1, and exactly 0 for constant values (whatever their rounding)."""
    if len(values) < 2:
        return math.nan
    if values.min() == values.max():
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def normal_interval(values: Numbers, level: float = 0.95) -> Interval:
    """mean ± z sd / sqrt(n): what the literature prints for 600 and more episodes. NaN bounds for n = 1."""
    x, level = sample(values), fraction(level)
    return symmetric(mean_of(x), float(ndtri((1 + level) / 2)) * standard_error(x), level, len(x), "normal")


def t_interval(values: Numbers, level: float = 0.95) -> Interval:
    """mean ± t(n - 1) sd / sqrt(n) (Student 1908): the one to use for few values (splits, seeds). NaN bounds for n = 1."""
    x, level = sample(values), fraction(level)
    quantile = float(stdtrit(max(len(x) - 1, 1), (1 + level) / 2))
    return symmetric(mean_of(x), quantile * standard_error(x), level, len(x), "t")


def seeds_interval(values: Numbers, seeds: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The t interval over the means of the seeds: what another training run would give, kept apart from the interval over episodes.

    `values` [n] and the seed of each (integers or names) [n]. The mean is that of the seed means; `n` is the number of seeds. One seed
    gives NaN bounds.
    """
    x, group = sample(values), np.asarray(seeds)
    if group.shape != x.shape:
        raise ValueError(f"expected one seed for each of {len(x)} values, found shape {group.shape}.")
    _, index = np.unique(group, return_inverse=True)
    means = np.bincount(index, weights=x) / np.bincount(index)
    over = t_interval(means, level)
    return Interval(over.mean, over.low, over.high, over.level, over.n, "t over seeds")


def bootstrap_interval(values: Numbers, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The percentile bootstrap of the mean (Efron 1979): for items of one test set, or values far from normal; n of 20 and more.

    For small n it is too narrow (n = 5 covers 82% where 95% is asked): use `t_interval` there. NaN bounds for n = 1.
    """
    x, level = sample(values), fraction(level)
    if resamples < 100:
        raise ValueError(f"expected at least 100 resamples, found {resamples}.")
    if len(x) == 1:
        return Interval(float(x[0]), math.nan, math.nan, level, 1, "bootstrap")
    means = _resampled_means(x, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean_of(x), float(low), float(high), level, len(x), "bootstrap")


def _resampled_means(x: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Means [resamples] of samples of n drawn with replacement from x [n]."""
    n = len(x)
    distinct, counts = np.unique(x, return_counts=True)
    if len(distinct) == 1:
        return np.full(resamples, x[0])
    step = max(1, CHUNK // n)
    means = np.empty(resamples)
    if 8 * len(distinct) < n:
        # Few distinct values (accuracies are k / Q): drawing how often each occurs is the same distribution, and n costs nothing.
        step = max(1, CHUNK // len(distinct))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            means[start : start + size] = generator.multinomial(n, counts / n, size) @ distinct / n
        return means
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        means[start : start + size] = x[generator.integers(n, size=(size, n), dtype=np.int32)].mean(1)
    return means


def wilson_interval(successes: float, trials: int, level: float = 0.95) -> Interval:
    """The score interval of a proportion (Wilson 1927): never outside [0, 1], and not empty when all or none succeed.

    `mean` is successes / trials, which is not the middle of the interval.
    """
    level, n = fraction(level), int(positive(trials, "trials"))
    if not 0 <= successes <= n:
        raise ValueError(f"expected successes between 0 and {n} trials, found {successes}.")
    p = float(successes) / n
    low, high = wilson_bounds(p, n, level)
    return Interval(p, low, high, level, n, "wilson")


def wilson_bounds(p: float, n: float, level: float) -> tuple[float, float]:
    """The true proportions in [0, 1] that fit an observed proportion `p` of `n` > 0 rows (n need not be a whole number)."""
    z = float(ndtri((1 + level) / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
