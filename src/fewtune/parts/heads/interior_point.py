"""Batched interior-point method for the duals of support vector machines, exact to rounding whatever C is.

Maximise <L, T> - 1/2 tr(T^T G T) over T [E, S, K] with T <= upper, T >= lower where `floored`, and, where `coupled`, rows of T that sum
to zero. The Newton system falls apart into K systems of S unknowns, G + diag(d_k), and one more of S unknowns for the coupling, so a
step costs O(K S^3) and not O((K S)^3).

Reference: Mehrotra, "On the implementation of a primal-dual interior point method", 1992.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

GAP = 1e-12  # wanted duality gap and residual, relative to the objective
STEPS = 80
DAMPING = 1e-12  # added to the Gram matrix in Newton systems only (relative to its diagonal), so that singular ones are solved


@final
@dataclass(frozen=True, eq=False)
class Dual:
    """The problem; entries of T whose class does not take part (`active` [E, 1, K]) stay zero."""

    gram: Float[Tensor, "E S S"]
    linear: Float[Tensor, "E S K"]
    upper: Float[Tensor, "E S K"]
    lower: Float[Tensor, "E S K"]
    active: Float[Tensor, "E 1 K"]
    floored: bool
    coupled: bool


@final
@dataclass(frozen=True, eq=False)
class Point:
    """A point inside: T, the multipliers of its bounds [E, S, K] (positive) and of the coupling [E, S, 1]."""

    T: Tensor
    above: Tensor
    below: Tensor
    level: Tensor

    def moved(self, step: Point, length: Float[Tensor, "E 1 1"]) -> Point:
        """The point this far along the step; where the length is 0 the step may hold NaN."""
        still = length == 0
        pairs = ((self.T, step.T), (self.above, step.above), (self.below, step.below), (self.level, step.level))
        return Point(*(torch.where(still, at, at + length * by) for at, by in pairs))


@final
@dataclass(frozen=True, eq=False)
class System:
    """(G + diag(stiffness_k)) x_k + m = right_k for every class and, if coupled, rows of X that sum to zero; factored once."""

    dual: Dual
    stiffness: Float[Tensor, "E S K"]
    inverse: Float[Tensor, "E K S S"]  # of G + diag(stiffness_k), zero for classes that take no part
    coupling: Float[Tensor, "E S S"] | None  # Cholesky factor of the sum of the inverses

    def solve(self, right: Float[Tensor, "E S K"], rounds: int) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E S 1"]]:
        """(X, m), refined `rounds` times: one class's matrix may be all but singular where the coupled system is not."""
        X, level = self._eliminate(right, torch.zeros_like(right[..., 0]))
        for _ in range(rounds):
            left = torch.bmm(self.dual.gram, X) + self.stiffness * X + level
            more, higher = self._eliminate((right - left) * self.dual.active, -X.sum(dim=-1))
            X, level = X + more, level + higher
        return X, level

    def _eliminate(self, right: Float[Tensor, "E S K"], total: Float[Tensor, "E S"]) -> tuple[Tensor, Tensor]:
        X = (self.inverse @ right.mT[..., None])[..., 0]  # [E, K, S]
        if self.coupling is None:
            return X.mT, torch.zeros_like(right[..., :1])
        level = torch.cholesky_solve((X.sum(dim=1) - total)[..., None], self.coupling)
        return (X - (self.inverse @ level[:, None])[..., 0]).mT, level


def factored(dual: Dual, stiffness: Float[Tensor, "E S K"]) -> System:
    """The Newton system at this stiffness (multiplier / slack of each entry)."""
    diagonal = stiffness.mT + (DAMPING * dual.gram.diagonal(dim1=1, dim2=2).amax(dim=1))[:, None, None]
    factor, _ = torch.linalg.cholesky_ex(dual.gram[:, None] + torch.diag_embed(diagonal))
    inverse = torch.cholesky_inverse(factor) * dual.active[:, 0, :, None, None]
    coupling = torch.linalg.cholesky_ex(inverse.sum(dim=1))[0] if dual.coupled else None
    return System(dual, stiffness, inverse, coupling)


def maximised(dual: Dual) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E S K"]]:
    """(T, stiffness) at the maximum; stiffness is multiplier / slack: huge at an active bound, next to nothing off it."""
    point = _start(dual)
    largest = dual.gram.diagonal(dim1=1, dim2=2).amax(dim=1)
    running = torch.ones(dual.gram.shape[0], dtype=torch.bool, device=dual.gram.device)
    for _ in range(STEPS):
        above, below = _slack(dual, point.T)
        slope = torch.bmm(dual.gram, point.T)
        residual = (slope - dual.linear + point.above - point.below + point.level) * dual.active
        complement = _total(above * point.above + below * point.below)
        value = _total(dual.linear * point.T - 0.5 * slope * point.T)
        wanted = GAP * value.abs().clamp_min(torch.finfo(value.dtype).tiny)
        rounding = 4 * torch.finfo(value.dtype).eps * largest * point.T.abs().sum(dim=1).square().sum(dim=-1)
        running = running & ((complement > wanted) | (_total(residual * point.T).abs() > torch.maximum(wanted, rounding)))
        if not bool(running.any()):
            break
        step, length = _step(dual, point, above, below, residual, complement)
        running = running & (length > 1e-8)  # else rounding has the last word, and the point before is the answer
        point = point.moved(step, torch.where(running, length, 0.0)[:, None, None])
    above, below = _slack(dual, point.T)
    return point.T, point.above / above + point.below / below


def _step(
    dual: Dual, point: Point, above: Tensor, below: Tensor, residual: Tensor, complement: Float[Tensor, " E"]
) -> tuple[Point, Float[Tensor, " E"]]:
    """Mehrotra's predictor and corrector with one factorisation, and how far to go (all but 0.5% of the way to the nearest bound)."""
    system = factored(dual, point.above / above + point.below / below)
    bounds = dual.active.expand_as(above).sum(dim=(1, 2)) * (2 if dual.floored else 1)
    mean = complement / bounds.clamp_min(1)
    none = torch.zeros_like(above)
    predictor = _newton(dual, point, above, below, residual, system, none, none)
    length = _reach(dual, point, above, below, predictor).clamp_max(1)[:, None, None]
    ahead = (above - length * predictor.T) * (point.above + length * predictor.above)
    ahead = ahead + (below + length * predictor.T) * (point.below + length * predictor.below)
    centring = (_total(ahead * dual.active) / complement.clamp_min(torch.finfo(mean.dtype).tiny)).clamp(0, 1) ** 3 * mean
    goal = centring[:, None, None] * dual.active
    step = _newton(dual, point, above, below, residual, system, goal + predictor.T * predictor.above, goal - predictor.T * predictor.below)
    return step, (0.995 * _reach(dual, point, above, below, step)).clamp_max(1)


def _newton(dual: Dual, point: Point, above: Tensor, below: Tensor, residual: Tensor, system: System, up: Tensor, down: Tensor) -> Point:
    """The Newton step towards slack x multiplier = `up` and `down`."""
    down = down if dual.floored else torch.zeros_like(down)
    right = (-residual - up / above + point.above + down / below - point.below) * dual.active
    T, level = system.solve(right, rounds=1)
    d_above = ((up + point.above * T) / above - point.above) * dual.active
    d_below = ((down - point.below * T) / below - point.below) * dual.active
    return Point(T, d_above, d_below, level)


def _reach(dual: Dual, point: Point, above: Tensor, below: Tensor, step: Point) -> Float[Tensor, " E"]:
    """The step length at which the first slack or multiplier becomes zero."""
    tiny = torch.finfo(above.dtype).tiny
    rates = torch.maximum(step.T / above, -step.above / point.above.clamp_min(tiny))
    if dual.floored:
        rates = torch.maximum(rates, torch.maximum(-step.T / below, -step.below / point.below.clamp_min(tiny)))
    return 1 / (rates * dual.active).amax(dim=(1, 2)).clamp_min(1e-3)


def _slack(dual: Dual, T: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the bounds, 1 where there is none."""
    tiny = torch.finfo(T.dtype).tiny
    inside = dual.active > 0
    above = torch.where(inside, (dual.upper - T).clamp_min(tiny), 1.0)
    below = torch.where(inside, (T - dual.lower).clamp_min(tiny), 1.0) if dual.floored else torch.ones_like(T)
    return above, below


def _start(dual: Dual) -> Point:
    """The middle of the bounds, or as far towards it as the quadratic term stays below the linear one; multipliers of one."""
    size = 0.5 / dual.gram.diagonal(dim1=1, dim2=2).amax(dim=1).clamp_min(1)[:, None, None]
    mine = (dual.upper > 0).to(dual.gram) * dual.active
    others = dual.active - mine
    company = others.sum(dim=-1, keepdim=True)
    T = size * (torch.where(company > 0, mine - others / company.clamp_min(1), 0.0) if dual.coupled else mine - others)
    ones = dual.active.expand_as(T).clone()
    return Point(T, ones, ones * dual.floored, torch.zeros_like(T[..., :1]))


def _total(values: Float[Tensor, "E S K"]) -> Float[Tensor, " E"]:
    return values.sum(dim=(1, 2))
