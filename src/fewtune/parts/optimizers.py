"""Optimizers as specs, without a rate: rates come from the plan.

Each has two readings that compute the same numbers: `fewtune.parts.inner` (out of place, differentiable) and `fewtune.parts.outer`
(torch.optim, in place). Default values are torch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

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


Plain: TypeAlias = SGD | Adam | AdamW | RAdam


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


@final
@dataclass(frozen=True, kw_only=True)
class Relative:
    """`optimizer` with each layer's rate multiplied by what its gradient says, over the largest of all layers: surgical finetuning without
    choosing a layer.

    `by` "norm" (Auto-RGN): |gradient| / |weights| of the layer; "snr" (Auto-SNR): the square of the mean gradient over its variance, both
    running means over steps, which only Adam, AdamW and RAdam keep. Layers whose factor is below `threshold` (0 to 1) do not move in that
    step. A layer is what shares a name before the last dot, such as weight and bias of a convolution. Reference: Lee et al., "Surgical
    fine-tuning improves adaptation to distribution shifts", ICLR 2023. Departs: they measure once an epoch, here at every step; their
    signal-to-noise ratio is over the rows of a batch.
    """

    optimizer: Plain = SGD()
    by: Literal["norm", "snr"] = "norm"
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.by not in ("norm", "snr") or not 0 <= self.threshold < 1:
            raise InputError(f"Relative goes by 'norm' or 'snr', with a threshold in [0, 1), found {self.by!r} and {self.threshold}.")
        if self.by == "snr" and isinstance(self.optimizer, SGD):
            raise InputError("Relative(by='snr') reads the running means that Adam, AdamW or RAdam keep: give one of these as optimizer.")

    @property
    def weight_decay(self) -> float:
        return self.optimizer.weight_decay


Optimizer: TypeAlias = Plain | Relative
OPTIMIZERS = (SGD, Adam, AdamW, RAdam)
"""The plain ones; `Relative` holds one of them."""


def plain(spec: Optimizer) -> Plain:
    """The optimizer that takes the steps."""
    return spec.optimizer if isinstance(spec, Relative) else spec
