"""Is the best method better than the others? p values that allow for having picked the best, and differences over training runs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval, mean_of, standard_error, symmetric
from fewtune.statistics.paired import sign_flip_test, two_sided
from fewtune.statistics.sample import Floats, Numbers, finite, fraction
from fewtune.statistics.special import stdtrit


def adjust_against_best(p_values: Numbers) -> Floats:
    """Two-sided p values [M] of the best method against each of its M rivals, adjusted for having picked the best; in the order given.

    Sorted from the smallest, adjusted_(i) = max over j <= i of min(1, C(m_j + 1, 2) p_(j)) with m_j = M - j + 1 rivals left. Holm's
    steps would count the m_j rivals. But any of the m_j + 1 methods left may have come out best by chance, so every pair of them counts.
    The nearest rival has the factor 1: "better than every other method" needs all M tests to agree. With equal methods, the
    chance that some adjusted p is at most a is at most a, by Bonferroni over their pairs.

    Reference: Holm, "A simple sequentially rejective multiple test procedure", 1979; Berger, "Multiparameter hypothesis testing and
    acceptance sampling", 1982 (all tests at once need no correction).
    """
    p: Floats = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"expected p values as one dimension of numbers between 0 and 1, found {p.tolist()}.")
    order = np.argsort(p, kind="stable")
    left = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * left * (left + 1) / 2))
    return adjusted


def runs_difference(first: npt.ArrayLike, second: npt.ArrayLike, level: float = 0.95) -> tuple[Interval, float]:
    """The mean difference of two methods, for other training runs and other episodes: its interval and its two-sided p.

    `first` [R, E] and `second` [R', E]: scores of R and R' training runs on the same E episodes; one row for a method that has nothing to
    train. The variance is that of the differences over episodes (/ E) plus that of the runs' means (/ R) of each method, and the degrees
    of freedom are the fewest of the parts: the t test is then never too sure, for any shares of the parts. Nor is it surer than
    the sign-flip test over the episodes alone, which differences that are all alike would make it. With one episode: NaN bounds, p = 1.

    Reference: Hajek, "Inequalities for the generalized Student's distribution and their applications", 1962 (the fewest degrees of
    freedom); Clark, "The language-as-fixed-effect fallacy", 1973 (runs and episodes are both samples).
    """
    a, b, level = _runs(first, "first"), _runs(second, "second"), fraction(level)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected both methods on the same episodes, found {a.shape[1]} and {b.shape[1]}.")
    differences: Floats = a.mean(0) - b.mean(0)
    several = [runs.mean(1) for runs in (a, b) if len(runs) > 1]
    parts = [differences, *several]
    mean, error = mean_of(differences), math.sqrt(math.fsum(standard_error(part) ** 2 for part in parts))
    freedom = min(len(part) for part in parts) - 1
    kind = "t over runs and episodes" if several else "paired t"
    half = float(stdtrit(max(freedom, 1), (1 + level) / 2)) * error
    interval = symmetric(mean, half, level, len(differences), kind)
    return interval, max(two_sided(mean, error, freedom), sign_flip_test(differences))


def _runs(scores: npt.ArrayLike, what: str) -> Floats:
    x = finite(scores, f"{what} scores")
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"expected the {what} scores as [runs, episodes], found shape {x.shape}.")
    return x
