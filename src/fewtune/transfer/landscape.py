"""The loss landscape between two solutions: a metric on the straight line through their weights, and the barrier on it.

Reference: Frankle, Dziugaite, Roy, Carbin, "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020; Neyshabur, Sedghi,
Zhang, "What is being transferred in transfer learning?", NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
from torch import Tensor

from fewtune.errors import InputError, unknown
from fewtune.statistics.intervals import Interval
from fewtune.statistics.ranking_metrics import auc
from fewtune.statistics.sample import Floats, Numbers
from fewtune.transfer.points import POINTS

Weights: TypeAlias = Mapping[str, Tensor]
Metric: TypeAlias = Literal["accuracy", "loss", "auc"]


def mixed(first: Weights, second: Weights, share: float) -> dict[str, Tensor]:
    """(1 - share) first + share second, name by name; `share` may be outside [0, 1].

    At 0 and 1 these are the very tensors given, and where both have the same tensor it stays. Whole numbers (counters) are those of
    `first`. Raises InputError unless both have the same names and shapes.
    """
    check_alike(first, second)
    if share in (0, 1):
        return dict(second if share else first)
    kept = {n for n, t in first.items() if t is second[n] or not t.is_floating_point()}
    return {n: t if n in kept else (1 - share) * t + share * second[n] for n, t in first.items()}


def check_alike(first: Weights, second: Weights) -> None:
    """Raise InputError unless both weights have the same names and shapes."""
    if strange := sorted(first.keys() ^ second.keys()):
        raise InputError(
            f"expected two sets of weights of one architecture with the same head, but only one of them has {strange[0]!r} (and "
            f"{len(strange) - 1} more names differ): give two runs that started from the same network."
        )
    if odd := next((n for n, t in first.items() if t.shape != second[n].shape), None):
        raise InputError(
            f"expected two sets of weights of one architecture with the same head, but {odd!r} is {list(first[odd].shape)} in one and "
            f"{list(second[odd].shape)} in the other."
        )


def interpolation(
    first: Weights,
    second: Weights,
    measure: Callable[[Weights], Any],
    points: Sequence[float] = POINTS,
    settle: Callable[[Weights], Weights] | None = None,
) -> Floats:
    """What `measure` says of (1 - a) first + a second at each point a: [P, ...].

    `measure` returns a number, or an array that has the same shape at every point: whether each row is right [N], its loss [N], or scores.
    `settle` is applied to the weights of every point before they are measured, the ends too: BatchNorm statistics must be estimated again
    (`fewtune.transfer.reestimated`), because the mean of two sets of statistics belongs to neither network.

    >>> import torch
    >>> interpolation({"w": torch.zeros(1)}, {"w": torch.ones(1)}, lambda w: float(w["w"]), points=(0.0, 0.5, 2.0))
    array([0. , 0.5, 2. ])
    """
    if not len(points):
        raise InputError("expected at least one point between two solutions, found none.")
    found = []
    for point in points:
        weights: Weights = mixed(first, second, float(point))
        found.append(np.asarray(measure(weights if settle is None else settle(weights)), dtype=np.float64))
    return np.stack(found)


@final
@dataclass(frozen=True, eq=False)
class Barrier:
    """The barrier between two solutions.

    `value`: the largest gap on the line, with its interval, in the units of the metric; at least 0. `at`: the point of the largest gap.
    `curve` [P]: the metric at each of `points` [P] (within [0, 1]). `middle`: the largest gain over the line between both ends ("boost in
    the middle"), at least 0; it and the barrier may both be above 0.
    """

    value: Interval
    at: float
    points: Floats
    curve: Floats
    middle: Interval


def barrier(
    points: Sequence[float] | Floats,
    values: Numbers,
    metric: Metric = "accuracy",
    truth: Numbers | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Barrier:
    """max over a in [0, 1] of (1 - a) m(0) + a m(1) - m(a); for a loss, of the opposite sign.

    `points` [P] include 0, 1 and at least one between them; others outside [0, 1] are left out. `values`: for "accuracy" whether each row
    is right [P, N], for "loss" the losses of rows [P, N], for "auc" scores [P, N] or [P, N, K] with the `truth` [N] (0, 1 or a class).
    [P] alone are means over rows; then the interval is unknown (NaN).

    The interval is a bootstrap over rows, each with its values at all points. The largest of several noisy gaps lies above the largest
    true gap, so its percentiles would show a barrier where there is none; the bounds are `value` ± the quantile of the largest deviation
    over all points, which contain the true barrier at least as often as `level` says (up to the bootstrap's own error).
    """
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))
    at, rows = _between(points, values)
    sign = -1.0 if metric == "loss" else 1.0
    if metric == "auc" and truth is None:
        raise InputError("the barrier of an AUC needs the truth of each row: barrier(points, scores, 'auc', truth).")

    def curve(chosen: np.ndarray[Any, Any] | None) -> Floats:
        if rows.ndim == 1:
            return rows
        picked = rows if chosen is None else rows[:, chosen]
        if metric != "auc":
            return np.asarray(picked.mean(1))
        known = np.asarray(truth) if chosen is None else np.asarray(truth)[chosen]
        return np.array([_auc(scores, known) for scores in picked])

    whole = curve(None)
    gaps = sign * _gaps(at, whole) + 0.0  # no -0
    gain = 0.0 - float(gaps.min())
    low = high = low_gain = high_gain = np.nan
    if rows.ndim > 1 and rows.shape[1] > 1:
        random = np.random.default_rng(seed)
        size = rows.shape[1]
        again = np.stack([sign * _gaps(at, curve(np.asarray(random.integers(size, size=size)))) for _ in range(resamples)])
        off = float(np.nanquantile(np.abs(again - gaps).max(1), level))
        low, high = max(0.0, gaps.max() - off), gaps.max() + off
        low_gain, high_gain = max(0.0, gain - off), gain + off
    units, kind = 1 if rows.ndim == 1 else rows.shape[1], "bootstrap over rows, simultaneous over points"
    return Barrier(
        value=Interval(float(gaps.max()), float(low), float(high), level, units, kind),
        at=float(at[gaps.argmax()]),
        points=at,
        curve=whole,
        middle=Interval(gain, float(low_gain), float(high_gain), level, units, kind),
    )


def _between(points: Sequence[float] | Floats, values: Numbers) -> tuple[Floats, Floats]:
    """The points within [0, 1] in rising order, and their values."""
    a, v = np.asarray(points, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if a.ndim != 1 or v.ndim < 1 or len(v) != len(a):
        raise InputError(f"expected values for each of {a.size} points, found shape {v.shape}.")
    if bad := v.size - int(np.isfinite(v).sum()):
        raise InputError(f"expected finite values at every point, found {bad} NaN or infinite among {v.size}.")
    order = [i for i in np.argsort(a, kind="stable") if 0 <= a[i] <= 1]
    if len(order) < 3 or a[order[0]] != 0 or a[order[-1]] != 1:
        raise InputError(f"a barrier needs the points 0 and 1 and at least one between them, found {a.tolist()}.")
    return a[order], v[order]


def _gaps(at: Floats, curve: Floats) -> Floats:
    """How far the curve lies below the straight line between its ends; exactly 0 at both ends."""
    gaps: Floats = (1 - at) * curve[0] + at * curve[-1] - curve
    gaps[[0, -1]] = 0.0
    return gaps


def _auc(scores: Floats, truth: np.ndarray[Any, Any]) -> float:
    both = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
    return auc(both, truth)
