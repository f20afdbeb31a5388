"""Valleys: the error along the way from a module's start to its end, with noise; and the two checks of criticality.

Reference: Chatterji, Neyshabur, Sedghi, "The intriguing role of module criticality in the generalization of deep networks", ICLR 2020,
figures 1 and 4 (valleys) and section 4 (criticality grows towards the output, and goes with the generalisation of trained networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeAlias, final

import numpy as np
from torch import Tensor

from fewtune.backbones.groups import Groups
from fewtune.errors import InputError
from fewtune.statistics.intervals import mean_of
from fewtune.statistics.ranks import ranked
from fewtune.statistics.sample import Floats, Numbers
from fewtune.transfer.modules import ALPHAS, Criticality, moving_names, rewound, unit, with_noise

Weights: TypeAlias = Mapping[str, Tensor]

ENUMERATED = 7  # values up to which all orders are visited


@final
@dataclass(frozen=True, eq=False)
class Valley:
    """`errors` [A, S] of (1 - alpha) start + alpha end + noise, at `alphas` [A] and `sigmas` [S]. `unit`: how far noise of sigma 1 goes, a
    standard deviation of each weight.
    """

    alphas: Floats
    sigmas: Floats
    errors: Floats
    unit: float


def valley(
    start: Weights,
    end: Weights,
    groups: Groups,
    error: Callable[[Weights], float],
    *,
    alphas: Sequence[float] = ALPHAS,
    sigmas: Sequence[float] = (0.0, 0.5, 1.0, 2.0),
    samples: int = 3,
    seed: int = 0,
) -> dict[str, Valley]:
    """The error around the way of one module, the others at their end, module by module.

    `error`: of whole weights, 0 to 1. `sigmas` are multiples of the module's root mean square distance from its start, as in `criticality`,
    whose noise this is; 0 is no noise. Errors are means over `samples` draws. Raises InputError as `criticality` does.
    """
    if samples < 1 or not len(alphas) or not len(sigmas) or min(sigmas) < 0:
        raise InputError("a valley needs samples of at least 1, and alphas and sigmas, the latter of at least 0.")
    found = {}
    for title, members in groups:
        names = moving_names(start, end, title, members)
        one = unit(start, end, names)
        errors = np.zeros((len(alphas), len(sigmas)))
        for i, alpha in enumerate(alphas):
            middle = rewound(start, end, names, alpha)
            for j, sigma in enumerate(sigmas):
                draws = range(samples if sigma else 1)
                drawn = (with_noise(middle, names, sigma * one, title, s, seed) if sigma else middle for s in draws)
                errors[i, j] = mean_of(np.array([float(error(weights)) for weights in drawn]))
        found[title] = Valley(np.asarray(alphas, dtype=np.float64), np.asarray(sigmas, dtype=np.float64), errors, one)
    return found


@final
@dataclass(frozen=True)
class RankTrend:
    """Spearman's `rho` of two sequences, and its two-sided `p` under all orders (or 10,000 random ones): a first look, not an effect."""

    rho: float
    p: float
    n: int


def rank_trend(first: Numbers, second: Numbers, *, seed: int = 0, resamples: int = 10_000) -> RankTrend:
    """Whether two sequences [N] rise together. Infinite values are the largest ranks; equal ones share theirs.

    Raises InputError for fewer than three pairs, other lengths, or values that are not numbers. NaN where one of them is constant.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (first, second))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3 or np.isnan(x).any() or np.isnan(y).any():
        raise InputError(f"a trend is of at least three pairs of numbers, found shapes {x.shape} and {y.shape}.")
    a, b = (ranked(v) - (len(v) + 1) / 2 for v in (x, y))
    size = math.sqrt(float(a @ a) * float(b @ b))
    if size == 0:
        return RankTrend(math.nan, math.nan, len(x))
    rho = float(a @ b) / size
    if len(x) <= ENUMERATED:
        orders = np.array(list(permutations(range(len(x)))))
        return RankTrend(rho, float((np.abs(b[orders] @ a) >= abs(rho) * size - 1e-9).mean()), len(x))
    random = np.random.default_rng(seed)
    others = np.stack([random.permutation(b) for _ in range(resamples)]) @ a
    return RankTrend(rho, float((1 + (np.abs(others) >= abs(rho) * size - 1e-9).sum()) / (1 + resamples)), len(x))


def grows_with_depth(found: Criticality) -> RankTrend:
    """The first check: whether modules are more critical the nearer they are to the output. Modules stand from input to output."""
    return rank_trend(np.arange(len(found.modules)), [one.value for one in found.modules.values()])


def goes_with_error(runs: Sequence[Criticality], errors: Numbers) -> RankTrend:
    """The second check: whether networks whose modules are more critical in sum have the larger test error (or generalisation gap)."""
    return rank_trend([one.total for one in runs], errors)
