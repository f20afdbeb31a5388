"""The quantities of a theory of multitask finetuning, computed where features and labels are at hand.

Reference: Xu, Shi, Wei, Dai, Liang, Li, "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024; Goldblum et
al., "Unraveling meta-learning", ICML 2020 (variance ratio).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from sklearn.linear_model import LogisticRegression

from fewtune.errors import InputError
from fewtune.statistics.sample import Floats, Integers, Numbers


def variance_ratio(features: Numbers, labels: Numbers) -> float:
    """tr(S_within) / tr(S_between) of features [N, D] with classes [N] (-1: left out).

    S_within is the mean over rows of the squared distance from the class mean, S_between that of the class means from the overall mean; the
    two sum to the total variance. inf where all class means are the same (NaN where all rows are).
    Raises InputError for fewer than two classes.

    >>> variance_ratio([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1])
    0.04
    """
    f, y = _rows(features, labels)
    names, index = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"a variance ratio needs rows of at least two classes, found {len(names)}.")
    means = np.stack([f[index == c].mean(0) for c in range(len(names))])
    within = float(((f - means[index]) ** 2).sum())
    between = float(((means[index] - f.mean(0)) ** 2).sum())
    rounding = 16 * f.size * (np.finfo(np.float64).eps * float(np.abs(f).max())) ** 2
    if between <= rounding:
        return math.nan if within <= rounding else math.inf
    return within / between


def collision_probability(frequencies: Numbers) -> float:
    """tau: the chance that two independent draws of a class are the same class, sum_c p_c^2. `frequencies` [C]: counts or shares."""
    p = np.asarray(frequencies, dtype=np.float64)
    if p.ndim != 1 or not len(p) or not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise InputError("expected the counts or shares of at least one class, none below 0 and some above.")
    return float(((p / p.sum()) ** 2).sum())


def supervised_loss(features: Numbers, labels: Numbers, C: float = 1.0) -> float:
    """L_sup(T, phi): the mean cross-entropy (nats) of task T with the best linear classifier on the features phi.

    `features` [N, D], `labels` [N] of two or more classes. The classifier minimises C sum of cross-entropies + 1/2 |W|^2 (scikit-learn's
    LogisticRegression), because without a bound on W every separable task has loss 0; its loss is without the penalty. Departs: the paper
    bounds the norm of W; a smaller C is a smaller bound.
    """
    f, y = _rows(features, labels)
    if len(np.unique(y)) < 2 or not C > 0:
        raise InputError("the supervised loss of a representation needs rows of at least two classes, and C above 0.")
    fitted = LogisticRegression(C=C, max_iter=1000, tol=1e-8).fit(f, y)
    chance = fitted.predict_log_proba(f)
    return float(-chance[np.arange(len(y)), np.searchsorted(fitted.classes_, y)].mean())


def pair_losses(features: Numbers, labels: Numbers, C: float = 1.0, pairs: Iterable[tuple[int, int]] | None = None) -> Floats:
    """L_sup of the two-class tasks of all pairs of classes (or of `pairs`), in their order: [T]. Pairs of different classes are zeta."""
    f, y = _rows(features, labels)
    names = np.unique(y)
    asked = [(int(a), int(b)) for i, a in enumerate(names) for b in names[i + 1 :]] if pairs is None else list(pairs)
    return np.array([supervised_loss(f[rows], y[rows], C) for a, b in asked for rows in [np.isin(y, (a, b))]])


def average_difference(losses: Numbers, other: Numbers, weights: Numbers | None = None) -> float:
    """d_zeta(phi, phi~): the mean over tasks of L_sup(T, phi) - L_sup(T, phi~). `weights` [T]: how often each is drawn (None: alike)."""
    gap = _gap(losses, other)
    return float(np.average(gap, weights=None if weights is None else np.asarray(weights, dtype=np.float64)))


def worst_difference(losses: Numbers, other: Numbers) -> float:
    """d_C0(phi, phi~): the largest L_sup(T, phi) - L_sup(T, phi~) over the tasks of the target's classes."""
    return float(_gap(losses, other).max())


@final
@dataclass(frozen=True)
class Diversity:
    """(nu, epsilon)-diversity: worst <= average / nu + epsilon for every pair of representations seen.

    An estimate from some pairs is an upper bound of nu: more pairs can only make it smaller.
    """

    nu: float
    epsilon: float


def diversity(average: Numbers, worst: Numbers, epsilon: float = 0.0) -> Diversity:
    """The largest nu in [0, 1] such that worst <= average / nu + `epsilon` for all pairs of representations (phi, phi~).

    `average` [R]: d_zeta of each pair, `worst` [R]: d_C0 of it. 0 where a pair has worst > epsilon although its average is not above 0:
    then no nu does, and epsilon must be larger. Raises InputError unless both have one number for each pair.

    >>> diversity([0.1, 0.2], [0.2, 0.3]).nu
    0.5
    """
    d, w = np.asarray(average, dtype=np.float64), np.asarray(worst, dtype=np.float64)
    if d.ndim != 1 or d.shape != w.shape or not len(d) or not 0 <= epsilon < math.inf:
        raise InputError(
            f"expected d_zeta and d_C0 of each pair and epsilon of at least 0, found shapes {d.shape} and {w.shape}, {epsilon}."
        )
    binding = w > epsilon
    if not binding.any():
        return Diversity(1.0, epsilon)
    return Diversity(float(np.clip((d[binding] / (w[binding] - epsilon)).min(), 0.0, 1.0)), epsilon)


def pretraining_bound(loss: float, tau: float, best: float = 0.0, nu: float = 1.0, epsilon: float = 0.0) -> float:
    """Theorem 1: after pretraining to a contrastive loss `loss` (epsilon_0), the excess target loss is at most

    1/nu [(2 loss - tau) / (1 - tau) - best] + epsilon, where `best` is the mean supervised loss of the best representation.
    """
    return finetuning_bound(1.0, loss, tau, best, nu, epsilon)


def finetuning_bound(alpha: float, loss: float, tau: float, best: float = 0.0, nu: float = 1.0, epsilon: float = 0.0) -> float:
    """Theorem 2: after multitask finetuning to alpha / 3 of (2 loss - tau) / (1 - tau), the excess target loss is at most

    1/nu [alpha (2 loss - tau) / (1 - tau) - best] + epsilon; alpha in (0, 1].
    """
    _check_theorem(alpha, loss, tau, nu)
    return (alpha * (2 * loss - tau) / (1 - tau) - best) / nu + epsilon


def finetuning_gain(alpha: float, loss: float, tau: float, nu: float = 1.0) -> float:
    """By how much finetuning lowers the bound: (1 - alpha) (2 loss - tau) / (1 - tau) / nu."""
    return pretraining_bound(loss, tau, nu=nu) - finetuning_bound(alpha, loss, tau, nu=nu)


def tasks_and_rows(
    alpha: float, loss: float, tau: float, delta: float, complexity_tasks: float, complexity_rows: float
) -> tuple[float, float]:
    """The order of M and of M m in theorem 2, without its constant: (R + log(1 / delta) / e) / e.

    e = alpha / 3 (2 loss - tau) / (1 - tau), the loss that finetuning must reach.
    `complexity_tasks`, `complexity_rows`: Rademacher complexities over M tasks and over M m rows. They count in ratios only: twice as small
    an alpha asks for at least twice as many.
    """
    _check_theorem(alpha, loss, tau, 1.0)
    e = alpha / 3 * (2 * loss - tau) / (1 - tau)
    if not 0 < delta < 1 or not e > 0:
        raise InputError("expected delta between 0 and 1, and a pretraining loss above tau / 2.")
    return tuple((r + math.log(1 / delta) / e) / e for r in (complexity_tasks, complexity_rows))  # type: ignore[return-value]


def _check_theorem(alpha: float, loss: float, tau: float, nu: float) -> None:
    if not (0 < alpha <= 1 and loss >= 0 and 0 <= tau < 1 and nu > 0):
        raise InputError(
            f"expected alpha in (0, 1], a loss of at least 0, tau in [0, 1) and nu above 0, found {alpha}, {loss}, {tau}, {nu}."
        )


def _gap(losses: Numbers, other: Numbers) -> Floats:
    a, b = np.asarray(losses, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(f"expected the losses of the same tasks by two representations, found shapes {a.shape} and {b.shape}.")
    return np.asarray(a - b)


def _rows(features: Numbers, labels: Numbers) -> tuple[Floats, Integers]:
    f, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if f.ndim != 2 or y.shape != f.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"expected features [N, D] with classes [N] as integers, found shapes {f.shape} and {y.shape}.")
    known = y >= 0
    if not np.isfinite(f[known]).all():
        raise InputError("expected finite features in rows that have a class, found NaN or infinite ones.")
    return f[known], y[known].astype(np.int64)
