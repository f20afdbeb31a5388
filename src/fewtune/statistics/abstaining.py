"""Answers that a model had better not give: coverage against accuracy, a threshold, sets of classes, and rows unlike all known ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.statistics.intervals import wilson_interval

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

LEVEL = 0.95  # of the interval by which answers below the threshold must be more often wrong than right


@final
@dataclass(frozen=True, eq=False)
class Coverage:
    """What is answered at each threshold: `share` [N] of all rows, rising to 1, the `accuracy` [N] on them, and the `least` probability
    [N] among them."""

    share: Floats
    accuracy: Floats
    least: Floats


def coverage_curve(confidence: Any, right: Any, weight: Any = None) -> Coverage:
    """The surest answers alone, then one more, and so on to all: equal probabilities come together.

    `confidence` [N] in [0, 1]: the probability of each answer. `right` [N]: whether it is right. `weight` [N] > 0: how much each counts (by
    default 1). Raises ValueError for arrays of different lengths, and for none.
    """
    sure, hit, much = _checked(confidence, right, weight)
    order = np.argsort(-sure, kind="stable")
    last = np.flatnonzero(np.diff(sure[order], append=-1.0))
    total = np.cumsum(much[order])[last]
    return Coverage(total / much.sum(), np.cumsum((much * hit)[order])[last] / total, sure[order][last])


def abstention_threshold(confidence: Any, right: Any, weight: Any = None) -> float:
    """The probability below which answers were more often wrong than right; 0 where no such probability is shown.

    Among all thresholds the one with the most (wrong minus right) below it, half-way to the next answer. This is the rule of least cost
    where a wrong answer costs as much as a right one gains. It is taken only if the share of wrong answers below it is above one half
    beyond chance: the lower bound of its 95% Wilson interval. Four answers, all wrong, are the fewest. The arguments are those of
    `coverage_curve`; weights count rows.

    Reference: Chow, "On optimum recognition error and reject tradeoff", IEEE Transactions on Information Theory, 1970.
    """
    sure, hit, much = _checked(confidence, right, weight)
    order = np.argsort(sure, kind="stable")
    ends = np.flatnonzero(np.diff(sure[order], append=2.0))
    below, wrong = np.cumsum(much[order])[ends], np.cumsum((much * ~hit)[order])[ends]
    best = int(np.argmax(2 * wrong - below))
    rows = int(below[best] + 1e-9)  # whole rows, where each was answered several times
    if not rows or wilson_interval(min(float(wrong[best]), rows), rows, LEVEL).low <= 0.5:
        return 0.0
    after = sure[order][ends[best] + 1] if ends[best] + 1 < len(sure) else 1.0
    return float((sure[order][ends[best]] + after) / 2)


def least_probability(true: Any, level: float, weight: Any = None) -> float:
    """The probability that a class must have to be in the set: sets hold the true class of a new row in at least `level` of cases.

    `true` [N]: the probability that each held-out row got for its true class; `weight`: as in `coverage_curve`, and the answers to one row
    share a weight of 1. It is the k-th smallest, k = floor((1 - level) (rows + 1)); 0, which lets every class in, where k is 0. That is
    exact if the rows are held out once, by the very model that is used, and new rows are drawn like them (split conformal sets). By
    cross-validation the held-out rows are judged by models of a few rows less, so sets are a little larger than need be.

    Reference: Sadinle, Lei, Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 2019; Vovk,
    "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence, 2015.
    """
    given, _, much = _checked(true, np.ones(len(np.atleast_1d(true)), dtype=bool), weight)
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, found {level}.")
    rank = np.floor((1 - level) * (much.sum() + 1) + 1e-9)
    if rank < 1:
        return 0.0
    order = np.argsort(given, kind="stable")
    return float(given[order][np.searchsorted(np.cumsum(much[order]), rank - 1e-9)])


def unlike(distance: Any, known: Any) -> Floats:
    """How likely a known row would be as far from all others as each new row is: p values [N] in (0, 1].

    `known` [S]: the distance of each known row to the nearest *other* known row. `distance` [N]: of each new row to the nearest known one.
    p = (1 + how many known rows are as far or farther) / (S + 1). If a new row is drawn like the known ones, p <= 0.05 in at most 5% of
    cases, for any number of rows and any distribution: this is the full conformal p value of the distance to the nearest neighbour. (With
    the new row among them, the nearest neighbour of a known row may be the new row, but no known row is nearer to it than the nearest one,
    so the comparison stays the same.) With fewer than 19 known rows p is always above 0.05.

    Reference: Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005, section 2.2; Sun et al., "Out-of-distribution
    detection with deep nearest neighbors", ICML 2022, for the score.
    """
    far = np.sort(np.asarray(known, dtype=np.float64))
    new = np.asarray(distance, dtype=np.float64)
    found: Floats = (1 + len(far) - np.searchsorted(far, new, side="left")) / (len(far) + 1)
    return found


def _checked(values: Any, right: Any, weight: Any) -> tuple[Floats, np.ndarray[Any, np.dtype[np.bool_]], Floats]:
    given, hit = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=bool)
    much = np.ones(len(given)) if weight is None else np.asarray(weight, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not given.shape == hit.shape == much.shape:
        raise ValueError(f"expected arrays of the same length, at least 1, found {given.shape}, {hit.shape} and {much.shape}.")
    return given, hit, much
