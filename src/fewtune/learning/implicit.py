"""Implicit gradients: an outer gradient crosses an inner solution by conjugate gradients, without the path that led there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from fewtune.data.views.views import IDENTITY
from fewtune.errors import InputError
from fewtune.learning.phase import Implicit, Phase
from fewtune.parts.aggregators import Mean
from fewtune.parts.losses import Anchor
from fewtune.tasks.pooled import Pooled

Weights: TypeAlias = Mapping[str, Tensor]
InnerGradient: TypeAlias = Callable[[Weights, Weights], Mapping[str, Tensor | None]]  # (solution, others) -> dF / d solution, with graph
Report: TypeAlias = Callable[[float], None]


def check_implicit(phase: Phase, moved: Sequence[str], shared: Weights) -> float:
    """The strength of the anchor. Raises InputError where the solution is no function of the shared weights."""
    strength = sum(loss.strength for loss in phase.losses if isinstance(loss, Anchor))
    loose = [n for n in moved if n not in shared]
    if loose or strength <= 0:
        what = f"{loose[0]!r} has no shared start" if loose else "its losses have no Anchor"
        raise InputError(f"implicit gradients need every moved name anchored, but {what}: add Anchor(strength=...), start='shared'.")
    if phase.sampler != Pooled() or phase.optimizer.weight_decay or phase.aggregator != Mean():
        raise InputError(
            "implicit gradients need one inner problem: expected sampler=Pooled(), aggregator=Mean() and an optimizer without weight_decay."
        )
    if (phase.support_view, phase.query_view) != (IDENTITY, IDENTITY):
        raise InputError("implicit gradients need one inner problem: expected its rows as they are, found an augmented view of them.")
    return strength


def crossing(
    solution: Weights, shared: Weights, strength: float, through: Implicit, gradient: InnerGradient, report: Report
) -> dict[str, Tensor]:
    """The solution [name -> own weights], connected to the shared weights: to their own starts and to all others that require gradients."""
    others = {n: t for n, t in shared.items() if n not in solution and t.requires_grad}
    problem = _Problem({n: t.detach() for n, t in solution.items()}, tuple(others), strength, through, gradient, report)
    ends = _Crossing.apply(problem, *(shared[n] for n in solution), *others.values())
    return dict(zip(solution, ends, strict=True))


@final
@dataclass(frozen=True, eq=False)
class _Problem:
    solution: Weights
    others: tuple[str, ...]
    strength: float
    through: Implicit
    gradient: InnerGradient
    report: Report

    def cross(self, arriving: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients by the starts and by the other shared weights."""
        with torch.enable_grad():
            leaves = {n: t.clone().requires_grad_() for n, t in self.solution.items()}
            beside = {n: t.detach().clone().requires_grad_() for n, t in zip(self.others, others, strict=True)}
            found = self.gradient(leaves, beside)
            slopes = [leaf * 0 if found[n] is None else found[n] for n, leaf in leaves.items()]
            inputs = [*leaves.values(), *beside.values()]

            def product(v: Sequence[Tensor], by: Sequence[Tensor]) -> list[Tensor]:
                made = torch.autograd.grad(slopes, by, list(v), retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
                return [torch.zeros_like(t) if g is None else g for t, g in zip(by, made, strict=True)]

            def curved(v: Sequence[Tensor]) -> list[Tensor]:
                return [h + self.through.damping * t for h, t in zip(product(v, inputs[: len(leaves)]), v, strict=True)]

            v, residual = conjugate_gradients(curved, arriving, self.through)
            mixed = [-g for g in product(v, inputs[len(leaves) :])] if beside else []
        self.report(residual)
        return [*((self.strength + self.through.damping) * t for t in v), *mixed]


class _Crossing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: _Problem, *shared: Tensor) -> tuple[Tensor, ...]:
        ctx.problem = problem
        ctx.save_for_backward(*shared[len(problem.solution) :])
        return tuple(t.clone() for t in problem.solution.values())

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.problem.cross(arriving, ctx.saved_tensors)


def conjugate_gradients(
    product: Callable[[Sequence[Tensor]], Sequence[Tensor]], wanted: Sequence[Tensor], through: Implicit
) -> tuple[list[Tensor], float]:
    """(v with H v near `wanted` = g, |H v - g| / |g|); `product` multiplies by H, which is symmetric and positive definite near a minimum.

    A direction of no positive curvature ends the search, at what was found before it. The residual is computed from v itself, not carried
    along. Reference: Hestenes and Stiefel, 1952.
    """
    v = [torch.zeros_like(g) for g in wanted]
    size = _dot(wanted, wanted)
    if size == 0:
        return v, 0.0
    rest = list(wanted)
    along, square = list(rest), size
    for _ in range(through.steps):
        if square <= through.tolerance**2 * size:
            break
        curved = product(along)
        curvature = _dot(along, curved)
        if not curvature > 0:
            break
        length = square / curvature
        v = [a + length * b for a, b in zip(v, along, strict=True)]
        rest = [a - length * b for a, b in zip(rest, curved, strict=True)]
        square, before = _dot(rest, rest), square
        along = [a + square / before * b for a, b in zip(rest, along, strict=True)]
    left = [a - b for a, b in zip(product(v), wanted, strict=True)]
    return v, (_dot(left, left) / size) ** 0.5


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return float(sum((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)))
