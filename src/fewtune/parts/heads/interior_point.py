"""Batched interior-point method for the duals of support vector machines, exact to rounding for every C.

Maximise <L, T> - 1/2 tr(T^T G T) over T [E, S, K] with T <= upper, T >= lower where `floored`, and, where `coupled`, rows of T that sum
to zero. The Newton system falls apart into K systems of S unknowns, G + diag(d_k), and one more of S unknowns for the coupling, so a
step costs O(K S^3) and not O((K S)^3).

Reference: Mehrotra, "On the implementation of a primal-dual interior point method", 1992.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GAP = 1e-15  # wanted duality gap and residual, relative to the objective; weights are off by its square root at worst
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

    def of(self, episodes: Bool[Tensor, " E"]) -> Dual:
        """The problem of some of the episodes."""
        gram, linear, upper, lower, active = (x[episodes] for x in (self.gram, self.linear, self.upper, self.lower, self.active))
        return Dual(gram, linear, upper, lower, active, self.floored, self.coupled)


@final
@dataclass(frozen=True, eq=False)
class Point:
    """A point inside, or a step between two.

    `above`, `below` [E, S, K]: the distances of T to its bounds, kept on their own because 1 - T has lost the digits of a small one (1
    where there is no bound). `pressure_above`, `pressure_below`: the bounds' multipliers, positive. `level` [E, S, 1]: the coupling's.
    """

    T: Tensor
    above: Tensor
    below: Tensor
    pressure_above: Tensor
    pressure_below: Tensor
    level: Tensor

    def moved(self, step: Point, length: Float[Tensor, "E 1 1"]) -> Point:
        """The point this far along the step; where the length is 0 the step may hold NaN."""
        pairs = [(getattr(self, f.name), getattr(step, f.name)) for f in fields(self)]
        return Point(*(torch.where(length == 0, at, at + length * by) for at, by in pairs))

    def complement(self) -> Float[Tensor, " E"]:
        """The sum of distance x multiplier, which is the duality gap of a feasible point."""
        return _total(self.above * self.pressure_above + self.below * self.pressure_below)

    def stiffness(self) -> Float[Tensor, "E S K"]:
        return self.pressure_above / self.above + self.pressure_below / self.below

    def reach(self, step: Point) -> Float[Tensor, " E"]:
        """The length of step, at most 1000, at which the first distance or multiplier becomes zero."""
        tiny = torch.finfo(self.T.dtype).tiny
        names = ("above", "below", "pressure_above", "pressure_below")
        rates = [(-getattr(step, name) / getattr(self, name).clamp_min(tiny)).amax(dim=(1, 2)) for name in names]
        return 1 / torch.stack(rates).amax(dim=0).clamp_min(1e-3)


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
    """(T, stiffness) at the maximum; stiffness is multiplier / distance: huge at an active bound, next to nothing off it."""
    point = _start(dual)
    largest = dual.gram.diagonal(dim1=1, dim2=2).amax(dim=1)
    running = torch.ones_like(largest, dtype=torch.bool)
    for _ in range(STEPS):
        slope = torch.bmm(dual.gram, point.T)
        residual = (slope - dual.linear + point.pressure_above - point.pressure_below + point.level) * dual.active
        value = _total(dual.linear * point.T - 0.5 * slope * point.T)
        wanted = GAP * value.abs().clamp_min(torch.finfo(value.dtype).tiny)
        rounding = 4 * torch.finfo(value.dtype).eps * largest * point.T.abs().sum(dim=1).square().sum(dim=-1)
        off = _total(residual * point.T).abs()
        running = running & ((point.complement() > wanted) | (off > torch.maximum(wanted, rounding)))
        if not bool(running.any()):
            break
        step, length = _step(dual, point, residual)
        running = running & (length > 1e-8)  # else rounding has the last word, and the point before is the answer
        point = point.moved(step, torch.where(running, length, 0.0)[:, None, None])
    return point.T, point.stiffness()


def _step(dual: Dual, point: Point, residual: Tensor) -> tuple[Point, Float[Tensor, " E"]]:
    """Mehrotra's predictor and corrector with one factorisation, and how far to go (all but 0.5% of the way to the nearest bound)."""
    system = factored(dual, point.stiffness())
    bounds = dual.active.expand_as(point.T).sum(dim=(1, 2)) * (2 if dual.floored else 1)
    gap = point.complement()
    none = torch.zeros_like(point.T)
    predictor = _newton(point, residual, system, none, none)
    ahead = point.moved(predictor, point.reach(predictor).clamp_max(1)[:, None, None]).complement()
    centring = (ahead / gap.clamp_min(torch.finfo(gap.dtype).tiny)).clamp(0, 1) ** 3 * gap / bounds.clamp_min(1)
    goal = centring[:, None, None] * dual.active
    up = goal - predictor.above * predictor.pressure_above
    down = goal - predictor.below * predictor.pressure_below
    step = _newton(point, residual, system, up, down * dual.floored)
    return step, (0.995 * point.reach(step)).clamp_max(1)


def _newton(point: Point, residual: Tensor, system: System, up: Tensor, down: Tensor) -> Point:
    """The Newton step towards distance x multiplier = `up` and `down`."""
    dual = system.dual
    right = (-residual - up / point.above + point.pressure_above + down / point.below - point.pressure_below) * dual.active
    T, level = system.solve(right, rounds=1)
    pressure_above = ((up + point.pressure_above * T) / point.above - point.pressure_above) * dual.active
    pressure_below = ((down - point.pressure_below * T) / point.below - point.pressure_below) * dual.active
    return Point(T, -T * dual.active, T * dual.active * dual.floored, pressure_above, pressure_below, level)


def _start(dual: Dual) -> Point:
    """The middle of the bounds, or as far towards it as the quadratic term stays below the linear one; multipliers of one."""
    size = 0.5 / dual.gram.diagonal(dim1=1, dim2=2).amax(dim=1).clamp_min(1)[:, None, None]
    mine = (dual.upper > 0).to(dual.gram) * dual.active
    others = dual.active - mine
    company = others.sum(dim=-1, keepdim=True)
    T = size * (torch.where(company > 0, mine - others / company.clamp_min(1), 0.0) if dual.coupled else mine - others)
    ones = dual.active.expand_as(T).clone()
    above = torch.where(ones > 0, dual.upper - T, 1.0)
    below = torch.where(ones > 0, T - dual.lower, 1.0) if dual.floored else torch.ones_like(T)
    return Point(T, above, below, ones, ones * dual.floored, torch.zeros_like(T[..., :1]))


def _total(values: Float[Tensor, "E S K"]) -> Float[Tensor, " E"]:
    return values.sum(dim=(1, 2))
