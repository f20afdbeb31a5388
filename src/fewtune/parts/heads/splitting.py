"""Batched operator splitting (ADMM) for the duals of support vector machines: O(S^3) once, then O(K S^2) a step.

The quadratic term and the bounds take turns: a linear system that all classes share, (G + r I) T = L + r (Z - U), is solved through the
eigenvectors of G, and T + U is projected onto the bounds, row by row and exactly. Both agree at the maximum. The weight r of the agreement
is balanced now and then, and an episode that has converged no longer moves, so its answer is its own.

Reference: Boyd et al., "Distributed optimization and statistical learning via the alternating direction method of multipliers", 2011.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.parts.heads.interior_point import Dual

PRECISE = 1e-10  # wanted difference between both sides, relative to the largest entry, and wanted residual of the gradient
STEPS = 300  # what has not converged by then converges slowly
CHECKED = 10  # steps between two looks at what has converged
BALANCED = (10, 20, 40, 80, 160)  # steps at which the weight changes: seldom, and less often as time goes on
GAP = 3e-10  # wanted duality gap, relative to the objective
RELAXED = 1.6  # over-relaxation, the usual one
STIFF = 1e14


def split(dual: Dual) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E S K"], Bool[Tensor, " E"]]:
    """(T, stiffness, converged) at the maximum; stiffness is `STIFF` at a bound and 0 off it."""
    values, vectors = torch.linalg.eigh(dual.gram)
    values = values.clamp_min(0)
    seen = dual.gram.diagonal(dim1=1, dim2=2)[..., None] > 0
    unseen = _unseen(dual)
    weight = values.mean(dim=1).clamp_min(torch.finfo(values.dtype).tiny)
    inverse = _inverse(values, vectors, weight)
    Z, U = torch.zeros_like(dual.linear), torch.zeros_like(dual.linear)
    done = ~seen.any(dim=1)[:, 0]
    for step in range(1, STEPS + 1):
        r = weight[:, None, None]
        T = torch.bmm(inverse, dual.linear + r * (Z - U))
        V = RELAXED * T + (1 - RELAXED) * Z + U
        ahead = _within(dual, V)
        check = step % CHECKED == 0
        if check:
            apart = _largest((T - ahead) * seen) / _largest(ahead * seen).clamp_min(torch.finfo(values.dtype).tiny)
            uphill = _largest(r * (ahead - Z) * seen)
        still = done[:, None, None]
        Z, U = torch.where(still, Z, ahead), torch.where(still, U, V - ahead)
        if check:
            done = done | ((torch.maximum(apart, uphill) < PRECISE) & _small_gap(dual, torch.where(seen, ahead, unseen)))
            if bool(done.all()):
                break
            if step in BALANCED:
                factor = torch.where(done, torch.ones_like(apart), (apart / uphill.clamp_min(1e-300)).sqrt().clamp(0.2, 5.0))
                weight, U = weight * factor, U / factor[:, None, None]
                inverse = _inverse(values, vectors, weight)
    active = (dual.upper <= Z) | (dual.lower >= Z) if dual.floored else dual.upper <= Z  # the projection puts them there to the last digit
    stiffness = STIFF * ((active & (dual.active > 0)) | ~seen).to(Z)
    return torch.where(seen, Z, unseen), stiffness, done


def _inverse(values: Float[Tensor, "E S"], vectors: Float[Tensor, "E S S"], weight: Float[Tensor, " E"]) -> Float[Tensor, "E S S"]:
    """(G + weight I)^-1."""
    return torch.bmm(vectors / (values + weight[:, None])[:, None, :], vectors.mT)


def _within(dual: Dual, V: Float[Tensor, "E S K"]) -> Float[Tensor, "E S K"]:
    """The nearest T within the bounds; where rows sum to zero, the distances to the upper bound are a point of the simplex."""
    if not dual.coupled:
        return torch.minimum(torch.maximum(V, dual.lower), dual.upper) * dual.active
    far = (dual.upper - V).masked_fill(dual.active == 0, -torch.inf)
    largest = far.sort(dim=-1, descending=True).values
    level = (largest.cumsum(dim=-1) - 1) / torch.arange(1, V.shape[-1] + 1, dtype=V.dtype, device=V.device)
    count = (largest > level).sum(dim=-1, keepdim=True).clamp_min(1)
    return (dual.upper - (far - level.gather(-1, count - 1)).clamp_min(0)) * dual.active


def _small_gap(dual: Dual, T: Float[Tensor, "E S K"]) -> Bool[Tensor, " E"]:
    """Whether no T within the bounds can be better by more than GAP, by the gradient at this one."""
    slope = torch.bmm(dual.gram, T)
    gradient = (dual.linear - slope) * dual.active
    if dual.coupled:
        least = gradient.masked_fill(dual.active == 0, torch.inf).amin(dim=-1)
        most = (gradient * dual.upper).sum(dim=-1) - least  # the upper bounds of a row add to 1
    else:
        most = torch.maximum(gradient * dual.upper, gradient * dual.lower).sum(dim=-1)
    gap = (most - (gradient * T).sum(dim=-1)).sum(dim=-1)
    return gap <= GAP * (dual.linear * T - 0.5 * slope * T).sum(dim=(1, 2)).abs()


def _unseen(dual: Dual) -> Float[Tensor, "E S K"]:
    """T of rows at the origin, on which nothing else depends: as far up as the bounds allow, and evenly down."""
    mine = (dual.upper > 0).to(dual.gram) * dual.active
    others = dual.active - mine
    if not dual.coupled:
        return mine - others
    company = others.sum(dim=-1, keepdim=True)
    return torch.where(company > 0, mine - others / company.clamp_min(1), torch.zeros_like(mine))


def _largest(values: Float[Tensor, "E S K"]) -> Float[Tensor, " E"]:
    return values.abs().amax(dim=(1, 2))
