"""Learning curves: how high they end, and how fast they get there, read apart.

Reference: Raghu, Zhang, Kleinberg, Bengio, "Transfusion: understanding transfer learning for medical imaging", NeurIPS 2019; Neyshabur,
Sedghi, Zhang, "What is being transferred in transfer learning?", NeurIPS 2020 (figure 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.errors import InputError
from fewtune.statistics.intervals import Interval, mean_of
from fewtune.statistics.sample import Floats, Numbers

SHARE = 0.9
"""The share of the final accuracy at which a curve counts as converged."""


@final
@dataclass(frozen=True)
class Convergence:
    """`final`: the accuracy at the end. `level`: the accuracy that counts as converged. `steps`: the first step at which it is reached,
    infinite where it never is. Intervals are a bootstrap over rows; NaN where rows are not known.
    """

    final: Interval
    level: float
    steps: Interval


def steps_to(steps: Sequence[float] | Numbers, accuracy: Numbers, level: float) -> float:
    """The first step at which a curve reaches `level`, on straight lines between its points; infinite where it never does.

    `steps` [P] rise, `accuracy` [P].

    >>> steps_to([0, 10, 20], [0.1, 0.5, 0.7], 0.6)
    15.0
    """
    at, values = _curve(steps, accuracy)
    if values.ndim != 1:
        raise InputError(f"expected one accuracy for each of {len(at)} steps, found shape {values.shape}.")
    above = np.flatnonzero(values >= level)
    if not len(above):
        return math.inf
    i = int(above[0])
    if i == 0:
        return float(at[0])
    return float(at[i - 1] + (level - values[i - 1]) / (values[i] - values[i - 1]) * (at[i] - at[i - 1]))


def convergence(
    steps: Sequence[float] | Numbers,
    values: Numbers,
    share: float = SHARE,
    *,
    chance: float = 0.0,
    tail: int = 1,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Convergence:
    """When a curve reaches chance + share (final - chance), and what its final accuracy is: the mean of its last `tail` points.

    `steps` [P] rise, from before training on. `values`: whether each row is right at each point [P, N], or accuracies alone [P]; then the
    intervals are unknown. `share` of the final accuracy, above 0 and at most 1. Each curve has its own level, so that speed does not speak
    of how high it ends; `chance` is the accuracy of guessing, which no step has to bring. The bootstrap draws rows, and each resample has
    a level of its own. Raises InputError for steps that do not rise, or a share or tail out of range.

    >>> convergence([0, 10, 20, 30], [0.1, 0.4, 0.5, 0.5], share=0.8, chance=0.1).steps.mean
    10.666666666666668
    """
    at, given = _curve(steps, values)
    if not 0 < share <= 1 or not 1 <= tail <= len(at):
        raise InputError(f"expected a share above 0 and at most 1 and a tail of 1 to {len(at)} points, found {share} and {tail}.")

    def read(curve: Floats) -> tuple[float, float, float]:
        final = mean_of(curve[-tail:])
        wanted = final if share == 1 else chance + share * (final - chance)  # the sum may lie above the final accuracy by rounding
        return final, wanted, steps_to(at, curve, wanted)

    rows = given.ndim > 1 and given.shape[1] > 1
    final, wanted, first = read(given.mean(1) if given.ndim > 1 else given)
    bounds = np.full((2, 2), np.nan)
    if rows:
        random = np.random.default_rng(seed)
        size = given.shape[1]
        found = np.array([read(given[:, random.integers(size, size=size)].mean(1)) for _ in range(resamples)])
        ends = [(1 - level) / 2, (1 + level) / 2]
        bounds = np.quantile(found[:, [0, 2]], ends, axis=0, method="inverted_cdf").T  # a quantile between a number and inf is no number
    units, kind = given.shape[1] if rows else 1, "bootstrap over rows"
    spread = [Interval(mean, float(low), float(high), level, units, kind) for mean, (low, high) in zip((final, first), bounds, strict=True)]
    return Convergence(spread[0], wanted, spread[1])


def _curve(steps: Sequence[float] | Numbers, values: Numbers) -> tuple[Floats, Floats]:
    at, given = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if at.ndim != 1 or not len(at) or given.ndim not in (1, 2) or len(given) != len(at):
        raise InputError(f"expected values for each of {at.size} steps, found shape {given.shape}.")
    if not (np.isfinite(at).all() and np.isfinite(given).all()):
        raise InputError("the steps and the accuracies of a curve are finite numbers, found NaN or infinite ones.")
    if (np.diff(at) <= 0).any():
        raise InputError(f"the steps of a curve rise, found {at.tolist()}.")
    return at, given
