"""Optimizers as specs, without a rate: rates come from the plan.

Each has two readings that compute the same numbers: `fewtune.parts.inner` (out of place, differentiable) and `fewtune.parts.outer`
(torch.optim, in place). Default values are torch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, final

from fewtune.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class SGD:
    """Gradient descent with momentum; `weight_decay` is added to the gradient (an L2 penalty of half of it)."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _within(self, 1.0, momentum=self.momentum)
        _within(self, math.inf, weight_decay=self.weight_decay)
        if self.nesterov and self.momentum == 0:
            raise InputError("SGD(nesterov=True) needs a momentum above 0, such as momentum=0.9.")


@final
@dataclass(frozen=True, kw_only=True)
class Adam:
    """Kingma and Ba, ICLR 2015; `weight_decay` is added to the gradient."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _adaptive(self, self.betas, self.eps, self.weight_decay)


@final
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov and Hutter, ICLR 2019; weights shrink by rate x `weight_decay` before each step."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _adaptive(self, self.betas, self.eps, self.weight_decay)


@final
@dataclass(frozen=True, kw_only=True)
class RAdam:
    """Liu et al., ICLR 2020, as torch has it: a plain momentum step while the variance is intractable, then rectified Adam.

    `weight_decay` is added to the gradient.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _adaptive(self, self.betas, self.eps, self.weight_decay)


Optimizer: TypeAlias = SGD | Adam | AdamW | RAdam
OPTIMIZERS = (SGD, Adam, AdamW, RAdam)


def _adaptive(spec: object, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    if not isinstance(betas, tuple) or len(betas) != 2:
        raise InputError(f"betas of {type(spec).__name__} are two numbers such as (0.9, 0.999), found {betas!r}.")
    _within(spec, 1.0, **{"betas[0]": betas[0], "betas[1]": betas[1]})
    _within(spec, math.inf, eps=eps, weight_decay=weight_decay)


def _within(spec: object, below: float, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
            bound = "finite" if below == math.inf else f"below {below:g}"
            raise InputError(f"{name} of {type(spec).__name__} is a number of at least 0 and {bound}, found {value!r}.")
