"""The ridge penalty with the smallest leave-one-out error of the support, in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.least_squares import Problem

GRID = tuple(10.0 ** (half / 2) for half in range(-8, 9))  # 1e-4 ... 1e4, times the mean squared norm of the rows
DEFAULT_PENALTY = 1.0  # likewise relative; taken where leaving one out says nothing


def mean_square(problem: Problem) -> Float[Tensor, " B"]:
    """The mean squared norm of the known rows, with the mean that centring took; 1 where they are all zero."""
    X = problem.features + problem.feature_mean[:, None, :] * problem.known[..., None]
    squared = X.square().sum(dim=(1, 2)) / problem.known.sum(dim=1).clamp_min(1)
    return torch.where(squared > 0, squared, 1.0)


@torch.no_grad()
def chosen(problem: Problem, *, intercept: bool) -> Float[Tensor, " B"]:
    """Which of GRID suits each of the B problems; no gradient flows through the choice.

    With G = X X^T = U diag(e) U^T and A = (G + penalty)^-1 Y, the error of row i when it is left out is A_i / [(G + penalty)^-1]_ii;
    with an intercept 1 / (n penalty) is subtracted from the denominator. Sums run over telling rows; the smaller of equal penalties wins.

    Reference: Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", 1979.
    """
    X, Y, known = problem.features, problem.values, problem.known
    count = known.sum(dim=1).clamp_min(1)
    values, vectors = torch.linalg.eigh(torch.bmm(X, X.mT))
    values = values.clamp_min(0)
    rotated = torch.bmm(vectors.mT, Y)
    grid = torch.tensor(GRID, dtype=X.dtype, device=X.device)
    penalties = mean_square(problem)[:, None] * grid  # [B, P]
    shrink = 1 / (values[:, None, :] + penalties[..., None])  # [B, P, S]
    dual = torch.einsum("bsr,bpr,brl->bpsl", vectors, shrink, rotated)
    diagonal = torch.einsum("bsr,bpr->bps", vectors.square(), shrink)
    if intercept:
        diagonal = diagonal - 1 / (count[:, None, None] * penalties[..., None])
    errors = dual / diagonal.clamp_min(torch.finfo(X.dtype).tiny)[..., None]
    total = (errors.square().sum(dim=-1) * problem.telling[:, None, :]).sum(dim=-1)
    degenerate = (problem.telling.sum(dim=1) == 0) | (count < 3)
    return torch.where(degenerate, DEFAULT_PENALTY, grid[total.argmin(dim=1)])
