"""Did one method beat another on the same episodes? Tests and an interval on paired differences."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval, t_interval
from fewtune.statistics.sample import Floats, Integers, Numbers, sample
from fewtune.statistics.special import stdtr

ENUMERATED = 16  # differences up to which all 2^n sign patterns are visited
DENOMINATOR = 2520  # accuracies are k / Q: lattices 1/1 .. 1/2520 (every Q to 10 has a common multiple there) are tried
PATTERNS = 1 << 15  # sign patterns at once: their sums stay in the cache, and memory does not grow with the differences
WORK = 300_000_000  # additions the exact distribution may take, about 0.2 s; beyond, Monte Carlo

_Number = TypeVar("_Number", np.float64, np.int64)


def sign_flip_test(differences: Numbers, seed: int = 0, resamples: int = 100_000) -> float:
    """The two-sided p of "d and -d are equally likely" (Fisher 1935): the share of sign patterns with a |sum| at least as large.

    Zeros are left out (flipping them changes nothing); all zero gives p = 1. The p is exact for any number of differences on a
    lattice (accuracies are k / Q), and for up to 16 others. Otherwise `resamples` random patterns and p = (b + 1) / (m + 1)
    (Phipson and Smyth 2010), never 0. With 600 differences and 100,000 patterns: about 0.05 s on one thread.
    """
    if resamples < 1:
        raise ValueError(f"expected at least 1 resample, found {resamples}.")
    x = sample(differences, "differences")
    lattice = on_lattice(x)
    if lattice is not None and _work(lattice) <= WORK:
        return _exact_on_lattice(lattice[lattice != 0])
    x = x[x != 0]
    # Equal sums that differ by rounding are ties, and ties count as "as large".
    least = abs(float(x.sum())) - 1e-12 * float(np.abs(x).sum())
    if len(x) <= ENUMERATED:
        # The pattern with all signs changed has the same |sum|, so one sign stays.
        return float(np.mean(np.abs(x[0] + _signed_sums(x[1:])) >= least))
    b = _as_large(x, least, resamples, np.random.default_rng(seed))
    return (b + 1) / (resamples + 1)


def wilcoxon_test(differences: Numbers) -> float:
    """The two-sided p of Wilcoxon's signed-rank test (1945); zeros are dropped, ties share ranks, all zero gives p = 1.

    Up to 50 nonzero differences the distribution is exact, with ties too (it is the sign-flip test of the signed ranks); above,
    scipy's normal approximation.
    """
    from scipy.stats import rankdata, wilcoxon  # takes a second to import

    x = sample(differences, "differences")
    lattice = on_lattice(x)  # so that 0.3 - 0.2 and 0.2 - 0.1 are tied as they should be
    exact = x if lattice is None else lattice.astype(np.float64)
    exact = exact[exact != 0]
    if len(exact) == 0:
        return 1.0
    if len(exact) <= 50:
        return _exact_on_lattice(np.round(2 * np.sign(exact) * rankdata(np.abs(exact))).astype(np.int64))
    return float(wilcoxon(exact).pvalue)


def paired_interval(differences: Numbers, level: float = 0.95) -> Interval:
    """The t interval of the mean difference of two methods on the same episodes."""
    over = t_interval(sample(differences, "differences"), level)
    return Interval(over.mean, over.low, over.high, over.level, over.n, "paired t")


def two_sided(mean: float, error: float, freedom: int) -> float:
    """The two-sided p of "the mean is 0" by t = mean / error (its standard error); 1 where the error is NaN, or mean and error are 0."""
    if math.isnan(error) or mean == 0:
        return 1.0
    return 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else 0.0


def on_lattice(x: Floats) -> Integers | None:
    """Integers a with x = a / m for the smallest m up to 2520, or None. Off by at most a millionth of the largest |x| (float32 scores)."""
    largest = float(np.abs(x).max())
    if largest == 0:
        return np.zeros(len(x), dtype=np.int64)
    distinct = np.unique(np.abs(x))
    if len(distinct) > DENOMINATOR or largest * DENOMINATOR > 1e9:
        return None
    for m in range(1, DENOMINATOR + 1):
        # An off value is found among the first few, so that a whole pass is rare.
        if _integers(distinct[-4:], m, largest) and _integers(distinct, m, largest):
            return np.round(x * m).astype(np.int64)
    return None


def _integers(x: Floats, m: int, largest: float) -> bool:
    scaled = x * m
    return bool(np.all(np.abs(scaled - np.round(scaled)) <= min(1e-6 * largest * m, 1e-2)))


def _work(a: Integers) -> int:
    return int(np.count_nonzero(a)) * int(np.abs(a).sum()) // 2


def _exact_on_lattice(a: Integers) -> float:
    """P(|sum of ±a_i| >= |sum of a_i|) by dynamic programming over the subset sums t, the sum being 2 t - total.

    Only positive numbers are added, so that the smallest p keeps its digits (down to 1e-308; smaller values become 1e-308).
    """
    if len(a) == 0:
        return 1.0
    sizes = np.sort(np.abs(a))
    total, observed = int(sizes.sum()), abs(int(a.sum()))
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    reached = 0
    for size in sizes.tolist():
        before = chance[: reached + 1] * 0.5
        chance[: reached + 1] = before
        reached += size
        chance[size : reached + 1] += before
    if observed == 0:
        return 1.0
    # The distribution is symmetric, so both tails are twice the lower one: 2 t - total <= -observed.
    p = 2 * float(chance[: (total - observed) // 2 + 1].sum())
    return min(1.0, max(p, float(np.finfo(np.float64).tiny)))


def _signed_sums(x: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """All 2^n sums of ±x_i [2^n]; bit i of the position says the sign of x_i."""
    sums = np.zeros(1, dtype=x.dtype)
    for value in x:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _as_large(x: Floats, least: float, resamples: int, generator: np.random.Generator) -> int:
    """How many of `resamples` random sign patterns give |sum| >= least.

    Eight signs are one random byte, and the signed sum of a byte is read from a table of 256: n / 8 additions a pattern.
    """
    groups = np.zeros((-(-len(x) // 8), 8))
    groups.reshape(-1)[: len(x)] = x
    found = 0
    for start in range(0, resamples, PATTERNS):
        sums = np.zeros(min(PATTERNS, resamples - start))
        for group in groups:
            sums += _signed_sums(group)[generator.integers(256, size=len(sums), dtype=np.uint8)]
        found += int(np.count_nonzero(np.abs(sums) >= least))
    return found
