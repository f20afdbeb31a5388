"""Laplace: logistic regression that knows how far its weights could be off, and is less sure far from its support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.features import exact, linear, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.parts.heads.logistic import Logistic
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Laplace:
    """Bayesian logistic regression: logit_c = m_c / sqrt(1 + pi v_c / 8), m_c the logits of `Logistic(C, normalize)`, v_c their variance.

    The weights of class c are normal around the fit with precision H_c = sum_s p_sc (1 - p_sc) x_s x_s^T + I / C, so v_c = x^T H_c^-1 x
    (Laplace's approximation; features relative to the mean of the support). Two classes share one weight, for which this is exact Laplace;
    for more, the blocks between classes are left out. Solved in the span of the support: S^3 for each class. Reference: MacKay, "The
    evidence framework applied to classification networks", 1992 (the probit formula); Lu, Ie, Sha, "Mean-field approximation to
    Gaussian-softmax integral", 2020; Kristiadi, Hein, Hennig, ICML 2020. Departs: the intercept's own variance is left out.
    """

    C: float = 30.0
    normalize: bool = True
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    begin = nothing_own

    def __post_init__(self) -> None:
        if not 0 < self.C < math.inf:
            raise InputError(f"C of Laplace is a number above 0 (large: little regularisation), found {self.C}.")

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """Of Logistic {"weight", "bias"}; {"rows": centred support [E, S, D], "mean": [E, 1, D], "root": [E, K, S, S]}: v_c is
        C (|x|^2 - |root_c rows x|^2)."""
        mean_fit = Logistic(C=self.C, normalize=self.normalize).fit(support, episodes, class_vectors, parameters)
        members = one_hot(episodes, exact(widen(support)[:0]))
        known = members.sum(-1, keepdim=True)
        features = prepared(support, known, normalize=self.normalize)
        mean = torch.bmm(known.mT, features) / known.sum(1, keepdim=True).clamp_min(1)
        rows = (features - mean) * known
        weight, bias = (mean_fit[n].to(rows) for n in ("weight", "bias"))
        p = torch.softmax(torch.bmm(features, weight.mT) + bias[:, None], dim=-1)
        spread = (p * (1 - p)).clamp_min(1e-12).sqrt() * known  # [E, S, K]
        scaled = spread.mT[..., None] * rows[:, None]  # [E, K, S, D]
        eye = torch.eye(rows.shape[1]).to(rows)
        below = torch.linalg.cholesky(eye / self.C + scaled @ scaled.mT)
        root = torch.linalg.solve_triangular(below, torch.diag_embed(spread.mT), upper=False)
        wide = widen(support)
        return {**mean_fit, "rows": rows.to(wide), "mean": mean.to(wide), "root": root.to(wide)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:  # noqa: ARG002
        wide = widen(query)
        logits = linear({n: state[n] for n in ("weight", "bias")}, wide, normalize=self.normalize)
        known = torch.ones_like(wide[..., :1])
        apart = prepared(query, known, normalize=self.normalize) - exact(state["mean"])
        inner = torch.bmm(apart, exact(state["rows"]).mT)  # [E, Q, S]
        explained = torch.einsum("ekst,eqt->eqks", exact(state["root"]), inner).square().sum(-1)
        variance = self.C * (apart.square().sum(-1, keepdim=True) - explained).clamp_min(0)
        return (exact(logits) / torch.sqrt(1 + math.pi / 8 * variance)).to(query.dtype)
