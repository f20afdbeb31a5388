"""Optimizers for inner loops: out of place on flat dictionaries, so gradients flow through the steps, to any order.

Everything is elementwise but `Relative`: weights with a leading axis of episodes move as those episodes would alone. Equal to torch.optim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch
from torch import Tensor

from fewtune.parts.optimizers import SGD, Adam, AdamW, Optimizer, Plain, RAdam, Relative, plain
from fewtune.parts.relative import shares

Slots: TypeAlias = tuple[Tensor, ...]


@final
@dataclass(frozen=True, eq=False)
class InnerState:
    """The state of an optimizer for each name that has moved: the number of its steps, and its averages (none before the first step)."""

    moves: Mapping[str, int] = field(default_factory=dict)
    slots: Mapping[str, Slots] = field(default_factory=dict)


def start(spec: Optimizer, weights: Mapping[str, Tensor]) -> InnerState:  # noqa: ARG001
    """The state before the first step; averages are made when a weight first moves."""
    return InnerState()


def update(
    spec: Optimizer,
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor | None],
    state: InnerState,
    rates: Mapping[str, float | Tensor],
) -> tuple[dict[str, Tensor], InnerState]:
    """(weights, state) after one step; nothing given is changed.

    A rate is a number or a tensor that broadcasts against its weight (one that requires gradients gets them: Meta-SGD). What has rate 0 as
    a number, or no gradient (None or absent), stays the very same tensor and keeps its state. A name with a gradient needs a rate.
    """
    moved, moves, slots = dict(weights), dict(state.moves), dict(state.slots)
    if isinstance(spec, Relative):
        factor = shares(spec, weights, gradients, {n: (s[0], s[1]) for n, s in slots.items() if len(s) == 2})
        rates = {n: rate * factor.get(n, 1.0) for n, rate in rates.items()}
    for name, gradient in gradients.items():
        rate = rates[name]
        if gradient is None or (not isinstance(rate, Tensor) and rate == 0):
            continue
        moves[name] = moves.get(name, 0) + 1
        given = rate.to(weights[name]) if isinstance(rate, Tensor) else rate
        moved[name], slots[name] = _moved(plain(spec), weights[name], gradient, slots.get(name, ()), given, moves[name])
    return moved, InnerState(moves, slots)


def _moved(spec: Plain, weight: Tensor, gradient: Tensor, slots: Slots, rate: float | Tensor, moves: int) -> tuple[Tensor, Slots]:
    if spec.weight_decay and not isinstance(spec, AdamW):
        gradient = gradient + spec.weight_decay * weight
    match spec:
        case SGD():
            return _descended(spec, weight, gradient, slots, rate)
        case AdamW():
            return _adapted(spec, weight * (1 - rate * spec.weight_decay), gradient, slots, rate, moves)
        case Adam() | RAdam():
            return _adapted(spec, weight, gradient, slots, rate, moves)


def _descended(spec: SGD, weight: Tensor, gradient: Tensor, slots: Slots, rate: float | Tensor) -> tuple[Tensor, Slots]:
    if not spec.momentum:
        return weight - rate * gradient, ()
    momentum = spec.momentum * slots[0] + gradient if slots else gradient
    direction = gradient + spec.momentum * momentum if spec.nesterov else momentum
    return weight - rate * direction, (momentum,)


def _adapted(
    spec: Adam | AdamW | RAdam, weight: Tensor, gradient: Tensor, slots: Slots, rate: float | Tensor, moves: int
) -> tuple[Tensor, Slots]:
    first, second = spec.betas
    mean, square = slots or (torch.zeros_like(gradient), torch.zeros_like(gradient))
    mean = torch.lerp(mean, gradient, 1 - first)
    square = second * square + (1 - second) * gradient * gradient
    direction = mean / (1 - first**moves)
    unbias = (1 - second**moves) ** 0.5
    if not isinstance(spec, RAdam):
        direction = direction / (_root(square) / unbias + spec.eps)
    elif scale := _rectified(second, moves):  # torch adds eps before the bias is corrected here, after it above
        direction = scale * unbias * direction / (_root(square) + spec.eps)
    return weight - rate * direction, (mean, square)


def _rectified(second: float, moves: int) -> float:
    """The factor r_t of RAdam, or 0 where the variance of the adaptive rate is not yet tractable (and the step is plain momentum)."""
    longest = 2 / (1 - second) - 1
    length = longest - 2 * moves * second**moves / (1 - second**moves)
    if length <= 5:
        return 0.0
    return float(((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5)


def _root(square: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0. Otherwise a weight whose gradient is exactly 0 would make meta-gradients NaN."""
    if not torch.is_grad_enabled():
        return square.sqrt()
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())
