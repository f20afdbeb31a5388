"""The ridge penalty with the smallest leave-one-out error of the support, in closed form."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.parts.heads.least_squares import Problem

# wide enough: both ends are limits. At the weakest penalty W goes through the rows, at the strongest it has the direction of the class sums
GRID = tuple(10.0 ** (half / 2) for half in range(-8, 9))  # 1e-4 ... 1e4, times the mean squared norm of the rows
DEFAULT_PENALTY = 1.0  # likewise relative; taken where leaving one out says nothing


def mean_square(problem: Problem) -> Float[Tensor, " B"]:
    """The mean squared norm of the known rows, with the mean that centring took; 1 where they are all zero."""
    X = problem.features + problem.feature_mean[:, None, :] * problem.known[..., None]
    squared = X.square().sum(dim=(1, 2)) / problem.known.sum(dim=1).clamp_min(1)
    return torch.where(squared > 0, squared, 1.0)


@torch.no_grad()
def chosen(problem: Problem, *, intercept: bool, spread: float = math.inf) -> Float[Tensor, " B"]:
    """Which of GRID suits each of the B problems; no gradient flows through the choice.

    With X X^T = U diag(e) U^T the fit is H Y, H = U diag(e / (e + penalty)) U^T, and the error of row i when it is left out is
    (Y - H Y)_i / (1 - H_ii); an intercept adds 1 / n to H_ii. Sums run over telling rows; the smaller of equal penalties wins.

    `spread`: of the logarithm of the penalty around DEFAULT_PENALTY, where it is known of before. With n telling rows and their mean
    squared error e, the least n / 2 log e + 1/2 (log(penalty / DEFAULT_PENALTY) / spread)^2 wins.

    Reference: Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", 1979.
    """
    X, Y, known = problem.features, problem.values, problem.known
    count = known.sum(dim=1).clamp_min(1)
    values, vectors = _spectrum(X)
    rotated = torch.bmm(vectors.mT, Y)
    unit = mean_square(problem)
    level = known / count[:, None] if intercept else torch.zeros_like(known)  # the intercept's share of the hat matrix
    totals = []
    for penalty in GRID:
        kept = values / (values + penalty * unit[:, None])
        residual = Y - torch.bmm(vectors * kept[:, None, :], rotated)
        own = 1 - torch.bmm(vectors.square(), kept[..., None])[..., 0] - level
        errors = (residual / own.clamp_min(torch.finfo(X.dtype).eps)[..., None]).square().sum(dim=-1)
        totals.append((errors * problem.telling).sum(dim=-1))
    total = torch.stack(totals, dim=1)
    grid = torch.tensor(GRID, dtype=X.dtype, device=X.device)
    if math.isfinite(spread):
        told = problem.telling.sum(dim=1, keepdim=True)
        total = told / 2 * total.clamp_min(torch.finfo(X.dtype).tiny).log() + 0.5 * ((grid / DEFAULT_PENALTY).log() / spread).square()
    degenerate = (problem.telling.sum(dim=1) == 0) | (count < 3)
    return torch.where(degenerate, DEFAULT_PENALTY, grid[total.argmin(dim=1)])


def _spectrum(X: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B S R"]]:
    """(eigenvalues, eigenvectors) of X X^T, from the smaller of the two Gram matrices; vectors of eigenvalue zero may be zero."""
    if X.shape[1] <= X.shape[2]:
        values, vectors = torch.linalg.eigh(torch.bmm(X, X.mT))
        return values.clamp_min(0), vectors
    values, right = torch.linalg.eigh(torch.bmm(X.mT, X))
    floor = torch.finfo(X.dtype).eps * X.shape[1] * values[:, -1:]
    values = torch.where(values > floor, values, 0.0)
    return values, torch.bmm(X, right) * torch.where(values > 0, values.clamp_min(torch.finfo(X.dtype).tiny).rsqrt(), 0.0)[:, None, :]


SOME = 10_000  # of very many rows, those whose leave-one-out errors choose a penalty


@torch.no_grad()
def chosen_from_sums(
    gram: Float[Tensor, "E D D"],
    mixed: Float[Tensor, "E K D"],
    target: Float[Tensor, "E K"],
    rows: Float[Tensor, "E S D"],
    label: Int[Tensor, "E S"],
    telling: Float[Tensor, "E S"],
    unit: Float[Tensor, " E"],
    level: Float[Tensor, " E"],
) -> Float[Tensor, " E"]:
    """Which of GRID suits each episode, by the leave-one-out errors of some of its rows alone.

    `gram` X^T X and `mixed` Y^T X of all rows, centred where there is an intercept; `target` is what was subtracted of the one-hot labels,
    zero without one. `rows` are some of X, `label` theirs (-1: none), `telling` as in Targets. `unit`: the mean squared norm. `level`: the
    intercept's share of the hat matrix. With weights W of a penalty and a row x with y: |y - W x|^2 = |y|^2 - 2 y . W x + x . (W^T W) x,
    which needs no prediction of every class for every row.
    """
    values, vectors = torch.linalg.eigh(gram)
    values, turned, rows = values.clamp_min(0), torch.bmm(mixed, vectors), torch.bmm(rows, vectors)
    place = label.clamp_min(0)
    own = 1 - 2 * target.gather(1, place) + target.square().sum(dim=1, keepdim=True)
    totals = []
    for penalty in GRID:
        kept = 1 / (values + penalty * unit[:, None])
        weight = turned * kept[:, None, :]
        fitted = torch.stack([(rows[e] * w[place[e]]).sum(dim=-1) for e, w in enumerate(weight)])
        fitted = fitted - torch.bmm(rows, torch.bmm(weight.mT, target[..., None]))[..., 0]
        squared = (torch.bmm(rows, torch.bmm(weight.mT, weight)) * rows).sum(dim=-1)
        left = 1 - torch.bmm(rows.square(), kept[..., None])[..., 0] - level[:, None]
        errors = (own - 2 * fitted + squared) / left.clamp_min(torch.finfo(gram.dtype).eps).square()
        totals.append((errors * telling * (label >= 0)).sum(dim=-1))
    grid = torch.tensor(GRID, dtype=gram.dtype, device=gram.device)
    best = grid[torch.stack(totals, dim=1).argmin(dim=1)]
    return torch.where((telling * (label >= 0)).sum(dim=1) == 0, DEFAULT_PENALTY, best)
