"""Learning curves as power laws: error(n) = floor + scale n^-exponent, fitted to a few sizes and extended a little further.

Reference: Cortes, Jackel, Solla, Vapnik, Denker, "Learning curves: asymptotic values and rate of convergence", NIPS 1993; Hestness et al.,
"Deep learning scaling is predictable, empirically", 2017.
Departs: no general optimiser. For a given exponent the law is linear in floor and scale, so the fit is non-negative least squares in two
unknowns, in closed form, over a grid of exponents that is refined once; it cannot fail to converge, and hundreds of resamples are
fitted at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval
from fewtune.statistics.sample import Floats, Numbers, finite, fraction, positive

SHALLOWEST, STEEPEST = 0.05, 2.0
"""The exponents that are tried. Near 0 the law becomes floor - scale log n, whose bounds have no meaning."""

_COARSE, _FINE = 40, 21  # exponents in the grid, and between the neighbours of its best
_LEAST_SHARE = 1e-3  # no size counts more than a thousand times as much as the noisiest one


@final
@dataclass(frozen=True)
class PowerLaw:
    """error(n) = floor + scale n^-exponent, with floor >= 0, scale >= 0 and exponent in [0.05, 2]."""

    floor: float
    scale: float
    exponent: float

    def at(self, size: float) -> float:
        """The error at a size > 0."""
        return self.floor + self.scale * math.exp(-self.exponent * math.log(positive(size, "size")))

    def needed(self, error: float) -> float:
        """The size at which the error falls to `error`; inf if it never does."""
        if self.scale == 0:
            return 0.0 if error >= self.floor else math.inf
        if error <= self.floor:
            return math.inf
        power = math.log(self.scale / (error - self.floor)) / self.exponent
        return math.exp(power) if power < 700 else math.inf


@final
@dataclass(frozen=True, eq=False)
class FittedPowerLaw:
    """A law, and the laws [R, 3] (floor, scale, exponent) fitted to resampled measurements. `units`: how many were resampled."""

    law: PowerLaw
    resampled: Floats
    units: int

    def at(self, size: float, level: float = 0.95) -> Interval:
        """The error to expect at a size, with its percentile interval."""
        floor, scale, exponent = self.resampled.T
        errors = floor + scale * positive(size, "size") ** -exponent
        return self._interval(self.law.at(size), errors, level)

    def needed(self, error: float, level: float = 0.95) -> Interval:
        """The size at which the error falls to `error`, with its percentile interval; bounds may be inf."""
        return self._interval(self.law.needed(error), np.array([PowerLaw(*law).needed(error) for law in self.resampled]), level)

    def _interval(self, centre: float, values: Floats, level: float) -> Interval:
        tail = (1 - fraction(level)) / 2
        ordered = np.sort(values)  # by rank, for between a number and infinity nothing can be interpolated
        low, high = ordered[math.floor(tail * (len(ordered) - 1))], ordered[math.ceil((1 - tail) * (len(ordered) - 1))]
        return Interval(centre, min(float(low), centre), max(float(high), centre), level, self.units, "power law, bootstrap")


def fit_power_law(sizes: Numbers, errors: Numbers, variances: Numbers | None = None) -> PowerLaw:
    """The law with the least sum over sizes of (error - law)^2 / variance.

    `sizes` [S] > 0, at least 3 different ones, `errors` [S] >= 0, and the variance of each error [S] (None: all the same). Raises
    ValueError for anything else.
    """
    n, e = _sizes(sizes), finite(errors, "errors")
    if e.shape != n.shape or (e < 0).any():
        raise ValueError(f"expected an error of at least 0 for each of {len(n)} sizes, found shape {e.shape} and least {e.min(initial=0)}.")
    return PowerLaw(*(float(x) for x in _fit(n, e[None], _weights(variances, n))[0]))


def bootstrap_power_law(
    sizes: Numbers, errors: Numbers, strata: npt.ArrayLike | None = None, resamples: int = 500, seed: int = 0
) -> FittedPowerLaw:
    """The law through the mean errors, and the laws through those of resampled units.

    `errors` [U, S]: of U >= 2 units at each size, at least 0. Units are what the result is meant for: held-out items, or independent
    splits; one is resampled with its errors at all sizes, because they are the same item. `strata` [U]: units are resampled within these
    (classes). The intervals take the law for true and know nothing of curves that bend otherwise. Simulated where it is true, 95%
    intervals at 2 and 4 times the last size cover in 87 to 96% of cases (least for 40 items, three sizes and a slow law).
    """
    n, e = _sizes(sizes), finite(errors, "errors")
    if e.ndim != 2 or e.shape[1] != len(n) or len(e) < 2 or (e < 0).any():
        raise ValueError(f"expected errors of at least 0 [units, {len(n)} sizes] of at least 2 units, found shape {e.shape}.")
    if resamples < 100:
        raise ValueError(f"expected at least 100 resamples, found {resamples}.")
    groups = np.zeros(len(e), dtype=np.int64) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    if groups.shape != (len(e),):
        raise ValueError(f"expected one stratum for each of {len(e)} units, found shape {groups.shape}.")
    weights = _weights(e.var(0, ddof=1) / len(e), n)
    random = np.random.default_rng(seed)
    times = np.zeros((resamples, len(e)))
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        times[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    law = PowerLaw(*(float(x) for x in _fit(n, e.mean(0)[None], weights)[0]))
    return FittedPowerLaw(law, _fit(n, times @ e / len(e), weights), len(e))


def _sizes(sizes: Numbers) -> Floats:
    n = finite(sizes, "sizes")
    if n.ndim != 1 or (n <= 0).any() or len(np.unique(n)) < 3:
        raise ValueError(f"expected at least 3 distinct sizes above 0, found {n.tolist()}.")
    return n


def _weights(variances: Numbers | None, sizes: Floats) -> Floats:
    """1 / variance [S], with the greatest at most 1 / _LEAST_SHARE times the least: an error of 0 has a variance of 0 by luck."""
    if variances is None:
        return np.ones(len(sizes))
    v = finite(variances, "variances")
    if v.shape != sizes.shape or (v < 0).any():
        raise ValueError(f"expected a variance of at least 0 for each of {len(sizes)} sizes, found shape {v.shape}.")
    return 1 / np.maximum(v, _LEAST_SHARE * v.max()) if v.max() > 0 else np.ones(len(sizes))


def _fit(sizes: Floats, errors: Floats, weights: Floats) -> Floats:
    """(floor, scale, exponent) [R, 3] of each row of errors [R, S]: the best of a grid of exponents, then of a finer one around it."""
    middle = math.exp(float(np.log(sizes).mean()))  # n is counted in this, so that the two columns are of one magnitude
    relative = sizes / middle
    coarse = np.geomspace(SHALLOWEST, STEEPEST, _COARSE)
    best = best_powers(relative, errors, weights, np.broadcast_to(coarse, (len(errors), _COARSE)))
    ratio = coarse[1] / coarse[0]
    finer = best[:, 2:] * ratio ** np.linspace(-1, 1, _FINE)
    found = best_powers(relative, errors, weights, np.clip(finer, SHALLOWEST, STEEPEST))
    found[:, 1] *= middle ** found[:, 2]
    return found


def best_powers(n: Floats, e: Floats, w: Floats, exponents: Floats) -> Floats:
    """Of each row of exponents [R, A]: the non-negative least squares fit with the least loss, as (floor, scale, exponent) [R, 3]."""
    x = n ** -exponents[..., None]  # [R, A, S]
    w = w / w.sum()
    mx, me = (x * w).sum(-1), (e * w).sum(-1)[:, None]
    xx, xe = (x * x * w).sum(-1), (x * (e * w)[:, None]).sum(-1)
    scale = np.maximum((xe - mx * me) / np.maximum(xx - mx * mx, 1e-300), 0.0)  # where negative, the best has none: a flat line
    floor = me - scale * mx
    through = np.maximum(xe / xx, 0.0)  # where the floor is negative, the best goes through 0
    scale, floor = np.where(floor < 0, through, scale), np.where(floor < 0, 0.0, floor)
    loss = ((e[:, None] - floor[..., None] - scale[..., None] * x) ** 2 * w).sum(-1)
    at = np.arange(len(e)), loss.argmin(1)
    return np.stack([floor[at], scale[at], exponents[at]], axis=1)
