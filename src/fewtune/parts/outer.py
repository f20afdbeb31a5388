"""Optimizers for outer loops: torch.optim, in place, one group of weights for each distinct rate of the plan.

The state is a flat dictionary of tensors; a run that is interrupted and resumed from it goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.optimizers import SGD, Adam, AdamW, Optimizer, Plain, RAdam, Relative, plain
from fewtune.parts.plan import ResolvedPlan
from fewtune.parts.rates import rate
from fewtune.parts.relative import shares


@final
class OuterOptimizer:
    """Moves weights in place. Made by `outer`."""

    def __init__(self, spec: Optimizer, weights: Mapping[str, Tensor], plan: ResolvedPlan, clip: float | None) -> None:
        self._weights = {name: weights[name] for name in plan.moving}
        self._plan = plan
        self._clip = clip
        self._relative = spec if isinstance(spec, Relative) else None
        self._slots = _slots(plain(spec))
        self._fused = not isinstance(plain(spec), RAdam) and all(map(_fusible, self._weights.values()))
        each = [(curve, (name,)) for curve, names in plan.schedules for name in names]
        self._schedules = plan.schedules if self._relative is None else each  # one rate, or one for each name
        groups = [{"params": [weights[name] for name in names], "lr": 0.0} for _, names in self._schedules]
        self._optimizer = _torch(plain(spec), groups, fused=self._fused) if groups else None

    def step(self, gradients: Mapping[str, Tensor | None] | None, step: int, steps: int) -> Tensor | None:
        """One step, number `step` (from 0) of a phase of `steps`.

        `gradients` by name (never changed), or None to take each weight's `.grad`; either way `.grad` of what the plan may move is None
        afterwards. What has rate 0 at this step, or no gradient, is not touched: no decay, no momentum. With `clip`, the gradients of what
        moves at this step are shrunk together to that norm at most, and the norm that they had is returned.
        """
        if self._optimizer is None:
            return None
        moving: list[Tensor] = []
        now = self._plan.clock(step, steps)
        factor = self._factors(gradients)
        for (curve, names), group in zip(self._schedules, self._optimizer.param_groups, strict=True):
            group["lr"] = rate(curve, *now) * factor.get(names[0], 1.0)
            for name in names:
                weight = self._weights[name]
                gradient = weight.grad if gradients is None else gradients.get(name)
                weight.grad = None
                if gradient is not None and group["lr"] != 0:
                    weight.grad = _laid_out(gradient, weight, copied=gradients is not None and self._clip is not None)
                    moving.append(weight)
        norm = None if self._clip is None else torch.nn.utils.clip_grad_norm_(moving, self._clip)
        self._optimizer.step()
        for weight in moving:
            weight.grad = None
        return norm

    def _factors(self, gradients: Mapping[str, Tensor | None] | None) -> dict[str, float]:
        """What `Relative` multiplies the rate of each name by; nothing for a plain optimizer."""
        if self._relative is None or self._optimizer is None:
            return {}
        given = {n: w.grad if gradients is None else gradients.get(n) for n, w in self._weights.items()}
        held = {n: self._optimizer.state.get(w, {}) for n, w in self._weights.items()}
        moments = {n: (s["exp_avg"], s["exp_avg_sq"]) for n, s in held.items() if "exp_avg_sq" in s}
        return shares(self._relative, self._weights, given, moments)

    def state(self) -> dict[str, Tensor]:
        """Copies of the averages and step counts, as "SLOT/NAME" -> tensor, of the names that have moved; ready for safetensors."""
        if self._optimizer is None:
            return {}
        return {
            f"{slot}/{name}": value.detach().clone(memory_format=torch.contiguous_format)
            for name, weight in self._weights.items()
            for slot, value in self._optimizer.state.get(weight, {}).items()
            if isinstance(value, Tensor)
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned, with weights that are as they were then. Raises InputError if it does not fit."""
        held: dict[str, dict[str, Tensor]] = {}
        for place, value in state.items():
            slot, _, name = place.partition("/")
            weight = self._weights.get(name)
            if weight is None or slot not in self._slots or value.shape != (() if slot == "step" else weight.shape):
                raise _misfit(f"{place!r} of shape {tuple(value.shape)}, which has no place")
            if slot == "step":  # torch keeps it where its kernel reads it
                held.setdefault(name, {})[slot] = value.clone().to(weight.device if self._fused else "cpu")
            else:
                held.setdefault(name, {})[slot] = torch.empty_like(weight).copy_(value)
        for name, slots in held.items():
            if set(slots) != self._slots:
                raise _misfit(f"{', '.join(sorted(slots))} of {name!r}, where {', '.join(sorted(self._slots))} are needed")
        if self._optimizer is not None:
            self._optimizer.state.clear()
            for name, slots in held.items():
                self._optimizer.state[self._weights[name]] = slots


def outer(spec: Optimizer, weights: Mapping[str, Tensor], plan: ResolvedPlan, *, clip: float | None = None) -> OuterOptimizer:
    """The optimizer that moves these weights, leaf tensors, in place by the plan's rates. Weights that the plan freezes are not given to
    it.

    `clip` > 0 is the largest global norm of a step's gradients (inf: only report it). Raises InputError for another one.
    """
    if clip is not None and not clip > 0:
        raise InputError(f"clip is the largest norm of a step's gradients, a number above 0 or None, found {clip}.")
    return OuterOptimizer(spec, weights, plan, clip)


def _slots(spec: Plain) -> set[str]:
    """The names that torch gives to its state of a weight."""
    if isinstance(spec, SGD):
        return {"momentum_buffer"} if spec.momentum else set()
    return {"step", "exp_avg", "exp_avg_sq"}


def _misfit(found: str) -> InputError:
    return InputError(
        f"the optimizer state does not fit: it has {found}; resume with the optimizer, plan and backbone that the run began with."
    )


def _torch(spec: Plain, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
    match spec:
        case SGD(momentum=momentum, nesterov=nesterov, weight_decay=decay):
            # its foreach form adds to the gradients in place, and two names may have been given one tensor
            return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=fused, foreach=False)
        case Adam(betas=betas, eps=eps, weight_decay=decay):
            return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=eps, weight_decay=decay, fused=fused)
        case AdamW(betas=betas, eps=eps, weight_decay=decay):
            return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=decay, fused=fused)
        case RAdam(betas=betas, eps=eps, weight_decay=decay):
            return torch.optim.RAdam(groups, lr=0.0, betas=betas, eps=eps, weight_decay=decay)


def _fusible(weight: Tensor) -> bool:
    """Whether torch's fused kernels (measured 3 times faster on a CPU too) can be used: they need memory without gaps."""
    return weight.device.type in ("cpu", "cuda") and weight.is_floating_point() and torch.empty_like(weight).stride() == weight.stride()


def _laid_out(gradient: Tensor, weight: Tensor, *, copied: bool) -> Tensor:
    """The gradient in its weight's memory layout, which fused kernels expect: in another layout they read the wrong numbers."""
    gradient = gradient.detach()
    if gradient.stride() == weight.stride():
        return gradient.clone() if copied else gradient
    return torch.empty_like(weight).copy_(gradient)
