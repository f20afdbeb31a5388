"""Modules: what one group of weights is worth. Rewinding puts it back to its start; criticality says how far back it may go.

Reference: Zhang, Bengio, Singer, "Are all layers created equal?", 2019 (rewinding); Chatterji, Neyshabur, Sedghi, "The intriguing role of
module criticality in the generalization of deep networks", ICLR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.groups import Groups
from fewtune.errors import InputError, unknown
from fewtune.keys import key
from fewtune.statistics.intervals import mean_of
from fewtune.statistics.sample import Floats
from fewtune.transfer.landscape import check_alike

Weights: TypeAlias = Mapping[str, Tensor]
T = TypeVar("T")

ALPHAS = tuple(i / 10 for i in range(11))
SIGMAS = tuple(2.0**i for i in range(4, -7, -1))


def with_buffers(groups: Groups, names: Sequence[str]) -> Groups:
    """The groups with the buffers (BatchNorm statistics) of their modules: names of no group whose module has a weight in the group."""
    placed = {n.rpartition(".")[0]: title for title, members in groups for n in members}
    taken = {n for _, members in groups for n in members}
    more: dict[str, list[str]] = {}
    for name in names:
        if name not in taken and (title := placed.get(name.rpartition(".")[0])) is not None:
            more.setdefault(title, []).append(name)
    return tuple((title, (*members, *more.get(title, ()))) for title, members in groups)


def chosen_groups(groups: Groups, patterns: Sequence[str] = ("*",)) -> Groups:
    """The groups whose names match a pattern (`*`, `?`, `[...]`). Raises InputError for a pattern that matches none."""
    titles = [title for title, _ in groups]
    for pattern in patterns:
        if not any(fnmatchcase(title, pattern) for title in titles):
            raise unknown("group", pattern, titles)
    return tuple((title, members) for title, members in groups if any(fnmatchcase(title, p) for p in patterns))


def rewound(start: Weights, end: Weights, names: Sequence[str], share: float = 0.0) -> dict[str, Tensor]:
    """The weights `end`, in which the `names` are (1 - share) start + share end: at their start where `share` is 0."""
    check_alike({n: start[n] for n in names if n in start}, {n: end[n] for n in names if n in end})

    def between(name: str) -> Tensor:
        if share in (0, 1) or not end[name].is_floating_point():
            return end[name] if share == 1 else start[name]
        return (1 - share) * start[name] + share * end[name]

    back = set(names)
    return {n: between(n) if n in back else t for n, t in end.items()}


def rewind(start: Weights, end: Weights, groups: Groups, measure: Callable[[Weights], T]) -> dict[str, T]:
    """What `measure` says of the trained weights with one group at its start, group by group; names that a network lacks are left out."""
    return {title: measure(rewound(start, end, [n for n in members if n in end and n in start])) for title, members in groups}


@final
@dataclass(frozen=True, eq=False)
class ModuleCriticality:
    """The criticality of one module: `value` = alpha^2 distance^2 / sigma^2 at its best (alpha, sigma); inf where no pair keeps the error.

    `distance`: the Euclidean distance of the module from its start. `errors` [A, S]: the mean error at every alpha and sigma that was
    measured, NaN elsewhere (a valley plot). `sigmas` [S] are absolute, in the units of the weights.
    """

    value: float
    alpha: float
    sigma: float
    distance: float
    alphas: Floats
    sigmas: Floats
    errors: Floats


@final
@dataclass(frozen=True, eq=False)
class Criticality:
    """Criticality module by module, from input to output, and what the error had to stay below."""

    modules: Mapping[str, ModuleCriticality]
    threshold: float

    @property
    def total(self) -> float:
        """The network's number: the sum over modules."""
        return sum(module.value for module in self.modules.values())


def criticality(
    start: Weights,
    end: Weights,
    groups: Groups,
    error: Callable[[Weights], float],
    *,
    slack: float = 0.02,
    threshold: float | None = None,
    alphas: Sequence[float] = ALPHAS,
    sigmas: Sequence[float] = SIGMAS,
    samples: int = 3,
    seed: int = 0,
) -> Criticality:
    """min over (alpha, sigma) of alpha^2 |end - start|^2 / sigma^2, such that the mean error over noise stays at most `threshold`.

    One module at a time is (1 - alpha) start + alpha end + u, where u is normal with standard deviation sigma in each entry; the others
    stay at `end`. `error` (0 to 1) is measured on training rows, as the paper does. `threshold`: None is the error at `end` plus `slack`.
    `sigmas` are multiples of the module's root mean square distance from its start (of its weights' where it has not moved). `samples`: how
    often the noise is drawn; it is a function of (`seed`, group, name, sample) and is the same for every alpha and sigma. The search
    leaves out pairs that could not be smaller than the best one found. A module that may be rewound (alpha = 0) has criticality 0.

    For finetuning, `start` is the pretrained network. Raises InputError for other architectures, or a module that is in neither.
    """
    if samples < 1 or not len(alphas) or not len(sigmas) or min(sigmas) <= 0 or min(alphas) < 0 or max(alphas) > 1:
        raise InputError("criticality needs samples of at least 1, alphas within [0, 1] and sigmas above 0.")
    limit = float(error(end)) + slack if threshold is None else threshold
    found = {}
    for title, members in groups:
        names = moving_names(start, end, title, members)
        found[title] = _module(start, end, title, names, error, limit, sorted(alphas), sorted(sigmas, reverse=True), samples, seed)
    return Criticality(found, limit)


def moving_names(start: Weights, end: Weights, title: str, members: Sequence[str]) -> list[str]:
    """The names of a module that both networks have. Raises InputError where there are none, and for other shapes."""
    names = [n for n in members if n in end and n in start and end[n].is_floating_point()]
    if not names:
        raise InputError(f"group {title!r} has no weights that both networks have.")
    check_alike({n: start[n] for n in names}, {n: end[n] for n in names})
    return names


def unit(start: Weights, end: Weights, names: Sequence[str]) -> float:
    """The noise of sigma 1: the root mean square distance of the names from their start, or their own size where they have not moved."""
    size = _square(start, end, names) or sum(float(end[n].double().square().sum()) for n in names) or 1.0
    return math.sqrt(size / sum(end[n].numel() for n in names))


def _square(start: Weights, end: Weights, names: Sequence[str]) -> float:
    return sum(float((end[n].double() - start[n].double()).square().sum()) for n in names)


def _module(
    start: Weights,
    end: Weights,
    title: str,
    names: Sequence[str],
    error: Callable[[Weights], float],
    limit: float,
    alphas: Sequence[float],
    sigmas: Sequence[float],
    samples: int,
    seed: int,
) -> ModuleCriticality:
    square = _square(start, end, names)
    absolute = [s * unit(start, end, names) for s in sigmas]
    errors = np.full((len(alphas), len(sigmas)), np.nan)
    best, at = math.inf, (math.nan, math.nan)
    for i, alpha in enumerate(alphas):
        middle = rewound(start, end, names, alpha)
        for j, sigma in enumerate(absolute):
            value = alpha * alpha * square / (sigma * sigma)
            if value >= best and not (value == best == 0):
                break  # sigmas fall, so no later one gives less
            noisy = (with_noise(middle, names, sigma, title, sample, seed) for sample in range(samples))
            errors[i, j] = mean_of(np.array([float(error(weights)) for weights in noisy]))
            if errors[i, j] <= limit:
                best, at = value, (alpha, sigma)
                break
        if best == 0:
            break
    return ModuleCriticality(best, *at, math.sqrt(square), np.asarray(alphas), np.asarray(absolute), errors)


def with_noise(weights: Weights, names: Sequence[str], sigma: float, title: str, sample: int, seed: int) -> dict[str, Tensor]:
    """The weights with normal noise in the `names`."""
    changed = dict(weights)
    for name in names:
        generator = key(seed, "criticality", title, name, sample).torch_generator()
        noise = torch.randn(weights[name].shape, generator=generator, dtype=torch.float64)
        changed[name] = weights[name] + (sigma * noise).to(weights[name])
    return changed
