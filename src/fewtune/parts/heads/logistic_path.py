"""The C of logistic regression with the least leave-one-out log-loss, along a path of warm starts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.newton import Fitting, fitted
from fewtune.parts.heads.softmax_regression import fitting_of

GRID = (0.1, 1.0, 10.0, 100.0)  # times C: between two neighbours the loss is flat, and each one costs half a fit
ROUGH = 3e-2  # size of the gradient at which a fit of the path ends, relative to that of its penalty part


@torch.no_grad()
def chosen_factor(
    X: Float[Tensor, "E S D"], members: Float[Tensor, "E S K"], C: Float[Tensor, " E"], *, intercept: bool, usual: float
) -> Float[Tensor, " E"]:
    """Which of GRID, times C, suits each episode; `usual` where no class has two rows. Arguments as `softmax_regression` has them.

    Fits run from the strongest penalty to the weakest, each from the last one's minimum. Sums run over the rows whose class has another
    row; the smaller of equal factors wins.
    """
    fitting, V = fitting_of(X, members, C, intercept), None
    told = members * (members.sum(dim=1, keepdim=True) > 1)
    losses = []
    for factor in GRID:
        weaker = fitting.with_penalty(1 / factor)
        V, P = fitted(weaker, start=V, precise=ROUGH)
        losses.append(-(left_out(weaker, V, P) * told).sum(dim=(1, 2)))
    best = torch.stack(losses, dim=1).argmin(dim=1)
    factors = torch.tensor(GRID, dtype=X.dtype, device=X.device)[best]
    return torch.where(told.sum(dim=(1, 2)) > 0, factors, usual)


def left_out(fitting: Fitting, V: Float[Tensor, "E R K"], P: Float[Tensor, "E S K"]) -> Float[Tensor, "E S K"]:
    """Log-probabilities of each support row when it is left out, by one Newton step from the fit of all rows; 0 for classes without rows.

    The Hessian of a row's loss, diag(p) - p p^T, is replaced by w times the identity with w = (1 - |p|^2) / (K - 1), its mean over the
    directions that it sees (exactly it for two classes). The step then needs one system of R unknowns for all classes: with
    h = f^T (F^T diag(w) F + ridge)^-1 f, the logits of the row change by h / (1 - w h) (p - y).

    Reference: Beirami et al., "On optimal generalizability in parametric learning", NeurIPS 2017 (approximate leave-one-out).
    """
    F, ways = fitting.factors, fitting.classes.sum(dim=-1).clamp_min(2)
    known = fitting.members.sum(dim=-1)
    weight = (known - P.square().sum(dim=-1)).clamp_min(0) / (ways - 1)
    penalty = fitting.ridge[..., 0].clamp_min(torch.finfo(F.dtype).eps)
    hessian = torch.bmm(F.mT * weight[:, None, :], F) + torch.diag_embed(penalty)
    factor, _ = torch.linalg.cholesky_ex(hessian)
    pull = torch.linalg.solve_triangular(factor, F.mT, upper=False).square().sum(dim=1)
    moved = pull / (1 - weight * pull).clamp_min(torch.finfo(F.dtype).eps)
    logits = torch.bmm(F, V) + moved[..., None] * (P - fitting.members)
    logs: Tensor = logits.masked_fill(~fitting.classes, -torch.inf).log_softmax(dim=-1)
    return logs.masked_fill(~fitting.classes, 0.0)
