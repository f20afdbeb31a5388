"""Logistic: multinomial logistic regression on the support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.parts.heads.features import ABSENT, LinearForm, exact, linear_score, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.parts.heads.logistic_path import chosen_factor
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.softmax_regression import softmax_regression
from fewtune.tasks.episodes import Episodes

USUAL = 3.0


@final
@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Minimises C x sum of cross-entropies + 1/2 |W|^2, the intercept unpenalised; logits = f W + b.

    Equals scikit-learn's LogisticRegression(C, fit_intercept=intercept) at its minimum, also in that two classes share one weight
    (the penalty is 1/2 |w_1 - w_0|^2, so C counts half).
    Solved in float64 in the span of the support by a truncated Newton method until the gradient is 1e-9 of its penalty part;
    gradients follow the implicit function theorem. `normalize` takes features as unit vectors, C is in (0, inf). A class
    without support takes no part: weight 0, bias -10,000.

    `C` may be "loo": for each episode the C of .1, 1, 10 and 100 with the smallest log-loss of the support rows when each is left out (one
    Newton step away from the fit of all rows, `logistic_path.left_out`). Rows that are alone in their class say nothing about it; where
    none remains (one label a class) C is 3. No gradient flows through the choice, which takes about twice as long as the fit itself.

    Reference: Wang, Zhao, Li, "Bridging multi-task learning and meta-learning", ICML 2021 (C = 3 on unit features).
    """

    C: float | Literal["loo"] = USUAL
    normalize: bool = True
    intercept: bool = True
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_positive_or_loo("C", self.C, "large: little regularisation")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "bias": [E, K]}."""
        wide = widen(support)
        members = one_hot(episodes, exact(wide[:0]))
        known = members.sum(dim=-1, keepdim=True)
        features = prepared(support, known, normalize=self.normalize)
        count = members.sum(dim=1)
        mean = torch.bmm(known.mT, features) / count.sum(dim=-1)[:, None, None].clamp_min(1)
        # the unpenalised intercept takes up any shift, and without their mean features are better conditioned
        features = features - mean * known if self.intercept else features
        binary = (count > 0).sum(dim=-1) == 2
        C = torch.where(binary, 0.5, 1.0).to(features) * (1.0 if isinstance(self.C, str) else self.C)
        if isinstance(self.C, str):
            C = C * chosen_factor(features, members, C, intercept=self.intercept, usual=USUAL)
        dual, bias = softmax_regression(features, members, C, intercept=self.intercept)
        weight = torch.bmm(dual.mT, features)
        if self.intercept:
            bias = bias - torch.bmm(weight, mean.mT)[..., 0]
        bias = bias.masked_fill(count == 0, ABSENT)
        return {"weight": weight.to(wide), "bias": bias.to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, self.normalize)
