"""Keep: the weights that a phase ends with: the last, the best on validation, or an average over the steps.

Averages are of weights as edits leave them: a loop passes a changed weight (LoRA) instead of its factors.

The state is a value of plain tensors and numbers, so that a run that is resumed from it goes on bit for bit. A loop calls `begin` once,
`observe` after each step, `judged` where `wants_validation` says so, and `end`. "Leaves" are the weights that the phase moves, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, final

import torch
from torch import Tensor

from fewtune.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Last:
    """The weights after the last step."""


@final
@dataclass(frozen=True, kw_only=True)
class Best:
    """The weights with the best accuracy on validation episodes, judged every `every` steps and after the last; ties keep the earlier.

    The start is not judged. Where no step was judged, the last weights.
    """

    every: int = 50

    def __post_init__(self) -> None:
        _at_least_one(self, self.every)


@final
@dataclass(frozen=True, kw_only=True)
class Ema:
    """An exponential moving average, e <- d e + (1 - d) theta after each step with d = `decay` in [0, 1).

    e begins as the start weights, so it is an average (weights sum to 1) at every step and needs no correction of bias; but the start
    weighs d^n after n steps: 0.37 after 1 / (1 - d) of them. A phase should be several times as long.
    Reference: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992 (averages of iterates); Tarvainen and
    Valpola, "Mean teachers are better role models", NeurIPS 2017 (exponential, of weights).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError(f"decay of Ema is a number of at least 0 and below 1, found {self.decay}.")


@final
@dataclass(frozen=True, kw_only=True)
class Swa:
    """The plain mean of the weights after the share `start` of the steps, and of every `every`-th step from there on.

    Where nothing was visited (no steps), the last weights. Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018. Departs: the rate is the plan's, there cyclical or constant and high; BatchNorm statistics are frozen, so
    they are not computed again.
    """

    start: float = 0.75
    every: int = 1

    def __post_init__(self) -> None:
        _at_least_one(self, self.every)
        if not 0 <= self.start <= 1:
            raise InputError(f"start of Swa is the share of steps that pass before it, a number from 0 to 1, found {self.start}.")


Keep: TypeAlias = Last | Best | Ema | Swa
KEEPS = (Last, Best, Ema, Swa)


@final
@dataclass(frozen=True, eq=False)
class KeepState:
    """The state so far: `kept`, tensors by the names of the leaves (averages in float32 or better), and `numbers`.

    `KeepState(state.tensors(), state.numbers)` is the same state; the tensors belong on the leaves' device.
    """

    kept: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """A flat dictionary for safetensors, which needs contiguous tensors; empty if nothing is kept yet."""
        return {name: tensor.contiguous() for name, tensor in self.kept.items()}


def begin(keep: Keep, leaves: Mapping[str, Tensor]) -> KeepState:
    """The state before the first step."""
    return KeepState(_widened(leaves)) if isinstance(keep, Ema) else KeepState()


def observe(keep: Keep, state: KeepState, leaves: Mapping[str, Tensor], step: int, steps: int) -> KeepState:
    """The state after step number `step` (from 0) of `steps` has moved the leaves. Do not use `state` again: averages change in place."""
    match keep:
        case Ema(decay=decay):
            for name, average in state.kept.items():
                average.mul_(decay).add_(leaves[name].detach().to(average.dtype), alpha=1 - decay)
        case Swa() if _visits(keep, step, steps):
            visited = int(state.numbers.get("visited", 0)) + 1
            kept = _widened(leaves) if visited == 1 else state.kept
            for name, mean in kept.items():
                mean.add_(leaves[name].detach().to(mean.dtype) - mean, alpha=1 / visited)
            return KeepState(kept, {"visited": visited})
    return state


def wants_validation(keep: Keep, step: int, steps: int) -> bool:
    """Whether the weights after step number `step` (from 0) of `steps` have to be judged."""
    return isinstance(keep, Best) and ((step + 1) % keep.every == 0 or step + 1 == steps)


def judged(keep: Keep, state: KeepState, leaves: Mapping[str, Tensor], accuracy: float) -> KeepState:
    """The state after the current weights had this accuracy on validation; NaN counts as not judged."""
    best = state.numbers.get("accuracy", -math.inf)
    if not isinstance(keep, Best) or not accuracy > best:
        return state
    return KeepState({name: leaf.detach().clone() for name, leaf in leaves.items()}, {"accuracy": accuracy})


def end(keep: Keep, state: KeepState, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the phase ends with, in the dtype of the leaves: the kept ones, or the leaves if nothing is kept."""
    kept = {} if isinstance(keep, Last) else state.kept
    return {name: kept[name].to(leaf.dtype) if name in kept else leaf.detach() for name, leaf in leaves.items()}


def stretched(keep: Keep, before: int, after: int) -> Keep:
    """The same for a phase of `after` > 0 steps instead of `before` > 0: what is counted in steps comes at the same fractions of it.

    `every` is scaled and rounded; the decay d of `Ema` becomes d^(before / after), so that the start weighs as much in the end.
    """
    match keep:
        case Ema(decay=decay):
            return Ema(decay=decay ** (before / after))
        case Best(every=every) | Swa(every=every):
            return replace(keep, every=max(1, round(every * after / before)))
    return keep


def _visits(keep: Swa, step: int, steps: int) -> bool:
    first = max(1, math.ceil(keep.start * steps - 1e-9))  # 0.07 x 100 is a little more than 7
    return step + 1 >= first and (step + 1 - first) % keep.every == 0


def _widened(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies. Half precisions become float32, so that a thousandth of a step is not lost."""
    return {n: t.detach().to(torch.promote_types(t.dtype, torch.float32), copy=True) for n, t in leaves.items()}


def _at_least_one(spec: Best | Swa, every: int) -> None:
    if every < 1:
        raise InputError(f"every of {type(spec).__name__} is a number of steps of at least 1, found {every}.")
