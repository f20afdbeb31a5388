"""Batched regularised least squares: minimise |Y - X W^T|^2 + penalty |W|^2 over known rows, in the smaller of the two forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.targets import Targets


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """B regressions of L targets: `features` [B, S, D] and `values` [B, S, L] are zero in rows that `known` [B, S] marks 0.

    `telling` [B, S] as in Targets. `feature_mean` [B, D] and `target_mean` [B, L] are what was subtracted.
    """

    features: Float[Tensor, "B S D"]
    values: Float[Tensor, "B S L"]
    known: Float[Tensor, "B S"]
    telling: Float[Tensor, "B S"]
    feature_mean: Float[Tensor, "B D"]
    target_mean: Float[Tensor, "B L"]


def by_target(features: Float[Tensor, "E S D"], targets: Targets) -> Problem:
    """One problem an episode where its rows are known as a whole; one an episode and target where each target misses other rows.

    `features` are zero in rows without a target.
    """
    values, known, telling = targets.values, targets.known, targets.telling
    if known.shape[-1] > 1:
        L = known.shape[-1]
        features = features.repeat_interleave(L, dim=0)
        values, known = values.mT.flatten(0, 1)[..., None], known.mT.flatten(0, 1)[..., None]
        features, telling = features * known, known[..., 0]
    return Problem(
        features=features,
        values=values,
        known=known[..., 0],
        telling=telling,
        feature_mean=features.new_zeros(features.shape[0], features.shape[-1]),
        target_mean=features.new_zeros(features.shape[0], values.shape[-1]),
    )


def centred(problem: Problem) -> Problem:
    """The problem with an unpenalised intercept: the means of the known rows are subtracted."""
    known = problem.known[..., None]
    count = known.sum(dim=1).clamp_min(1)
    feature_mean, target_mean = problem.features.sum(dim=1) / count, problem.values.sum(dim=1) / count
    return replace(
        problem,
        features=(problem.features - feature_mean[:, None, :]) * known,
        values=(problem.values - target_mean[:, None, :]) * known,
        feature_mean=feature_mean,
        target_mean=target_mean,
    )


def solved(problem: Problem, penalty: Float[Tensor, " B"]) -> Float[Tensor, "B L D"]:
    """The weight: over rows (X^T (X X^T + penalty)^-1 Y) where S < D, over features ((X^T X + penalty)^-1 X^T Y) otherwise."""
    X, Y = problem.features, problem.values
    rows, width = X.shape[1:]
    gram = torch.bmm(X, X.mT) if rows < width else torch.bmm(X.mT, X)
    factor, _ = torch.linalg.cholesky_ex(gram + penalty[:, None, None] * torch.eye(min(rows, width), dtype=X.dtype, device=X.device))
    if rows < width:
        return torch.bmm(torch.cholesky_solve(Y, factor).mT, X)
    return torch.cholesky_solve(torch.bmm(X.mT, Y), factor).mT
