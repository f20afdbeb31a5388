"""Moments: what has to be remembered of a set of rows to know its mean, its shrunk covariance, and how well it covers a point.

They add, so a set grows by a sum, and the rows themselves need not be kept. All in float64. Cancellation is the caller's to prevent: take
rows about a common point that lies among them (the selection takes the target's mean) before they are summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

LEAST = 1e-6  # the least shrinkage that coverage is computed with
_NOTHING = 1e-12  # of the mean square of the rows: a variance below this is rounding


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """`count` n, `sum` [D] of x, `outer` [D, D] of x x^T, `cubic` [D] of |x|^2 x, `quartic` of |x|^4, over the rows of a set."""

    count: int
    sum: Floats
    outer: Floats
    cubic: Floats
    quartic: float

    def __add__(self, other: Moments) -> Moments:
        """The moments of two disjoint sets together."""
        return Moments(
            self.count + other.count,
            self.sum + other.sum,
            self.outer + other.outer,
            self.cubic + other.cubic,
            self.quartic + other.quartic,
        )


def moments_of(rows: Floats) -> Moments:
    """The moments of rows [n, D]."""
    rows = np.asarray(rows, dtype=np.float64)
    square = np.einsum("nd,nd->n", rows, rows)
    return Moments(len(rows), rows.sum(axis=0), rows.T @ rows, square @ rows, float(square @ square))


def covariance(moments: Moments) -> tuple[Floats, float]:
    """(S [D, D], delta): the covariance (divided by n) and the intensity with which Ledoit and Wolf shrink it.

    The shrunk covariance is (1 - delta) S + delta m I with m = tr(S) / D the mean variance; delta = min(b, d) / d,
    d = |S - m I|^2 and b = (sum_k |x_k - mean|^4 / n - |S|^2) / n, the sum of fourth powers read off the moments. delta is 0 where d is
    (one feature; a covariance that is a multiple of the identity already).
    Reference: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004; equal to
    `sklearn.covariance.ledoit_wolf`.
    """
    n, mean = moments.count, moments.sum / moments.count
    within = moments.outer / n
    off, raw = float(mean @ mean), float(np.trace(within))
    fourth = moments.quartic / n + 4 * float(mean @ within @ mean) - 4 * float(moments.cubic @ mean) / n + 2 * off * raw - 3 * off * off
    within -= np.outer(mean, mean)
    size, trace = float(np.vdot(within, within)), float(np.trace(within))
    spread = size - trace * trace / len(mean)
    noise = (fourth - size) / n
    return within, (min(max(noise, 0.0), spread) / spread if spread > 0 else 0.0)


def coverage(moments: Moments, target: Floats) -> float:
    """How well a set covers the mean of a target: 1 / ((target - mean)^T C^-1 (target - mean)), C its shrunk covariance.

    It has no unit: neither scaling nor turning the features changes it. delta is at least a millionth (`LEAST`), so that C has an inverse
    with two rows too, where Ledoit and Wolf's is 0. A set without any variance (one row, or copies of one) covers nothing but its own
    mean: 0, or infinity where that is the target. It says little against rows far away: these move the mean, but widen C along the
    same direction, so that one task unlike n others costs about 1/n of squared distance, and where C is still flat it may gain.

    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024, algorithm 1. Departs: the
    covariance is shrunk; theirs is singular until there are more rows than features, and they take the absolute value of what comes out.
    """
    from scipy.linalg import cholesky, solve_triangular  # takes long to import

    away = target - moments.sum / moments.count
    shape, shrinkage = covariance(moments)
    size = len(away)
    variance = float(np.trace(shape)) / size
    if variance * size <= _NOTHING * float(np.trace(moments.outer)) / moments.count:
        return 0.0 if away.any() else math.inf
    shrinkage = max(shrinkage, LEAST)
    shape *= 1 - shrinkage
    shape.flat[:: size + 1] += shrinkage * variance
    lower = cholesky(shape.T, lower=True, overwrite_a=True, check_finite=False)
    white = solve_triangular(lower, away, lower=True, check_finite=False)
    distance = float(white @ white)
    return 1 / distance if distance > 0 else math.inf
