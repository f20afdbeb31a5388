"""Limits of scale: the error on a downstream task (DS) as a function of the error upstream (US), e_DS = scale e_US^exponent + floor.

Reference: Abnar, Dehghani, Neyshabur, Sedghi, "Exploring the limits of large scale pre-training", ICLR 2022.
Departs: they fit by a general optimiser. Here the exponent is searched on a grid, and for each one the law is linear in scale and floor:
non-negative least squares in closed form, which cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from fewtune.errors import InputError
from fewtune.statistics.intervals import Interval
from fewtune.statistics.power_law import best_powers
from fewtune.statistics.sample import Floats, Integers, Numbers

Points: TypeAlias = Literal["hull", "all"]

LEAST = 4
"""The fewest points that a law is fitted to: it has three unknowns."""

SHALLOWEST, STEEPEST = 0.05, 8.0
_COARSE, _FINE = 64, 33


def hull(e_us: Numbers, e_ds: Numbers) -> Integers:
    """The points [H] on the convex hull of lower error, by falling upstream error: the best that mixtures of the models reach.

    A model that answers each row by model j with probability p_j has the error sum_j p_j e_j in both tasks (the randomised-classifier
    lemma), so every convex combination of points is reached, and the lower edge of their convex hull is what the best ones reach at each
    upstream error. Raises InputError for arrays that are not errors [N] in [0, 1].

    >>> hull([0.1, 0.2, 0.3], [0.2, 0.4, 0.4]).tolist()
    [2, 0]
    """
    x, y = errors_of(e_us, e_ds)
    order = np.lexsort((y, x))
    kept: list[int] = []
    for i in order:
        if kept and x[kept[-1]] == x[i]:
            continue  # the same upstream error, and a higher downstream error
        while len(kept) > 1 and _turn(x, y, kept[-2], kept[-1], int(i)) <= 0:
            kept.pop()
        kept.append(int(i))
    return np.array(kept[::-1], dtype=np.int64)


def mixture(accuracies: Numbers, chances: Numbers) -> Floats:
    """The accuracy [...] of a model that answers each row by model j with probability `chances` [J]: sum_j p_j a_j, of [J, ...]."""
    p, a = np.asarray(chances, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if p.ndim != 1 or len(a) != len(p) or (p < 0).any() or abs(p.sum() - 1) > 1e-9:
        raise InputError("expected one probability for each model, at least 0 and summing to 1.")
    return np.asarray(np.tensordot(p, a, axes=1))


@final
@dataclass(frozen=True, eq=False)
class DownstreamLaw:
    """e_DS = scale e_US^exponent + floor, fitted to `points` [n] (numbers of the points given).

    `scale`, `exponent`, `floor` have bootstrap intervals over models. The floor is the error to expect where the upstream error is 0; it is
    not the Bayes error, and is often weakly known: look at its interval. Where the scale is 0 the exponent says
    nothing. `r2`: the share of variance of the fitted points that the law explains (NaN where they do not vary); `error`: the root mean
    square residual. `resampled` [R, 3]: (floor, scale, exponent) of each resample.
    """

    scale: Interval
    exponent: Interval
    floor: Interval
    points: Integers
    r2: float
    error: float
    resampled: Floats

    def at(self, e_us: float) -> Interval:
        """The downstream error to expect at an upstream error, with its interval."""
        floor, scale, exponent = self.resampled.T
        return _interval(float(self.predict([e_us])[0]), floor + scale * e_us**exponent, self.floor)

    def predict(self, e_us: Numbers) -> Floats:
        """The downstream errors [N] to expect at upstream errors [N]."""
        x = np.asarray(e_us, dtype=np.float64)
        return np.asarray(self.floor.mean + self.scale.mean * x**self.exponent.mean)


def downstream_law(
    e_us: Numbers, e_ds: Numbers, points: Points = "all", *, level: float = 0.95, resamples: int = 300, seed: int = 0
) -> DownstreamLaw:
    """The law e_DS = scale e_US^exponent + floor through the points of models; scale, floor >= 0, exponent in [0.05, 8].

    `e_us`, `e_ds` [N]: each model's error upstream and downstream, in [0, 1]. `points`: "all" fits the average model; "hull" the
    lower convex hull (`hull`), that is, the best models, whatever the density of the others. A law with an exponent below 1 bends the other
    way, so that few of its points are on the hull. The intervals are percentiles over resampled models; the
    hull is taken anew in each resample. Raises InputError for fewer than 4 points, for fewer than 4 on the hull, and where all points have
    nearly one upstream error.

    >>> x = np.array([0.9, 0.7, 0.5, 0.3, 0.2])
    >>> law = downstream_law(x, 0.5 * x**2 + 0.1)
    >>> round(law.scale.mean, 2), round(law.exponent.mean, 1), round(law.floor.mean, 2)
    (0.5, 2.0, 0.1)
    """
    x, y = errors_of(e_us, e_ds)
    used = _chosen(x, y, points)
    if len(used) < LEAST:
        raise InputError(
            f"a law has three unknowns and needs at least {LEAST} points, found {len(used)} "
            f"{'on the hull of ' + str(len(x)) if points == 'hull' else 'points'}"
            + (": give more models, or fit all points (points='all')." if points == "hull" and len(x) >= LEAST else ": give more models.")
        )
    if len(np.unique(x[used])) < 3:
        raise InputError("a law needs points with at least 3 different upstream errors.")
    floor, scale, exponent = fitted(x[used], y[used])
    random = np.random.default_rng(seed)
    again = []
    for _ in range(resamples):
        some = random.integers(len(x), size=len(x))
        inside = some[_chosen(x[some], y[some], points)]
        if len(np.unique(x[inside])) >= 3:
            again.append(fitted(x[inside], y[inside]))
    drawn = np.array(again).reshape(-1, 3)
    like = Interval(0.0, 0.0, 0.0, level, len(x), f"bootstrap over models, {points}")
    left = y[used] - (floor + scale * x[used] ** exponent)
    varies = float(((y[used] - y[used].mean()) ** 2).sum()) if y[used].min() < y[used].max() else 0.0
    return DownstreamLaw(
        scale=_interval(scale, drawn[:, 1], like),
        exponent=_interval(exponent, drawn[:, 2], like),
        floor=_interval(floor, drawn[:, 0], like),
        points=used,
        r2=1 - float((left**2).sum()) / varies if varies > 0 else float("nan"),
        error=float(np.sqrt((left**2).mean())),
        resampled=drawn,
    )


def fitted(x: Floats, y: Floats) -> tuple[float, float, float]:
    """(floor, scale, exponent) with the least squares: the best of a grid of exponents, then of a finer one around it."""
    size, even = 1 / np.maximum(x, 1e-12), np.ones(len(x))
    coarse = np.geomspace(SHALLOWEST, STEEPEST, _COARSE)
    best = best_powers(size, y[None], even, coarse[None])[0]
    finer = best[2] * (coarse[1] / coarse[0]) ** np.linspace(-1, 1, _FINE)
    floor, scale, exponent = best_powers(size, y[None], even, np.clip(finer, SHALLOWEST, STEEPEST)[None])[0]
    return float(floor), float(scale), float(exponent)


def _chosen(x: Floats, y: Floats, points: Points) -> Integers:
    return hull(x, y) if points == "hull" else np.arange(len(x))


def _interval(centre: float, values: Floats, like: Interval) -> Interval:
    tail = (1 - like.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (np.nan, np.nan)
    return Interval(centre, min(float(low), centre), max(float(high), centre), like.level, like.n, like.kind)


def _turn(x: Floats, y: Floats, a: int, b: int, c: int) -> float:
    """Above 0 where the path a, b, c turns left (b is below the line from a to c)."""
    return float((x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]))


def errors_of(e_us: Numbers, e_ds: Numbers) -> tuple[Floats, Floats]:
    """Both errors [N] as float64. Raises InputError for other shapes and for values outside [0, 1]."""
    x, y = np.asarray(e_us, dtype=np.float64), np.asarray(e_ds, dtype=np.float64)
    if x.shape == y.shape == (0,):
        raise InputError("expected the errors of models, found none: a law needs at least 4 points, a hull at least one.")
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"expected an upstream and a downstream error for each model, found shapes {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and min(x.min(), y.min()) >= 0 and max(x.max(), y.max()) <= 1):
        raise InputError("errors are shares of wrong answers, from 0 to 1 (1 - accuracy), found other values.")
    return x, y
