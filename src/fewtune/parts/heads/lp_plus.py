"""LpPlus: a linear probe whose weights are the sum of learned rows and of the class names, each name by a factor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.features import LinearForm, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import Named, named, zero_shot_scale
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

MOMENTUM = 0.9
TINY = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class LpPlus:
    """logits = f . (w_k + alpha_k t_k) + b_k, t the unit class vectors, f unit features; w, b and alpha by `steps` of gradient descent.

    The loss is the mean cross-entropy of the n support rows X. w starts at the class sums, b at 0, alpha at the scale that suits the names
    on the support. Rates come from bounds of the curvature: 4 n / lambda_max(X^T X) for w and b, with momentum .9, and n / (4 max_k sum_i
    (x_i . t_k)^2) for alpha, without. Nothing is regularised: `steps` says how far from the names the end may be. A class without rows is
    answered by its name alone, and no row is told apart from it. `prompts` as in Text. w stays in the span of the rows, so a step costs n^2
    K.

    Reference: Huang et al., "LP++: a surprisingly strong linear probe for few-shot CLIP", CVPR 2024. Departs: there alpha starts at 250
    times the mean product of class means and names (a constant for CLIP's cosines), moves every tenth step by the sum of all its gradients
    so far, and the best step is chosen on a validation set; here the last one is taken.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    steps: int = 300
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        if self.steps < 0:
            raise InputError(f"steps of LpPlus is a whole number of at least 0, found {self.steps}.")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "bias": [E, K]}."""
        wide, given = widen(support), named(support, episodes, class_vectors, "LpPlus")
        dual, alpha, bias = descended(given, self.steps)
        weight = torch.bmm(dual.mT, given.rows) + alpha.mT * given.names
        return {"weight": weight.to(wide), "bias": bias[:, 0].to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, True)


def descended(given: Named, steps: int) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E 1 K"], Float[Tensor, "E 1 K"]]:
    """(A, alpha, b) after so many steps, with w = A^T X."""
    gram, cosines = torch.bmm(given.rows, given.rows.mT), given.zero_shot
    known, seen = given.members.sum(dim=-1, keepdim=True), given.seen
    count = known.sum(dim=1, keepdim=True).clamp_min(1)
    fast = 4 * count / torch.linalg.eigvalsh(gram)[:, -1:, None].clamp_min(TINY)
    slow = count / (4 * (cosines.square() * known * seen).sum(1, keepdim=True).amax(-1, keepdim=True)).clamp_min(TINY)
    dual, alpha = given.members, zero_shot_scale(given)[:, None, None] * given.real
    bias, pulled, lifted = torch.zeros_like(alpha), torch.zeros_like(dual), torch.zeros_like(alpha)
    for _ in range(steps):
        logits = torch.bmm(gram, dual) + cosines * alpha + bias
        error = (logits.masked_fill(~seen, -torch.inf).softmax(dim=-1) - given.members) * known / count
        pulled, lifted = MOMENTUM * pulled + error, MOMENTUM * lifted + error.sum(1, keepdim=True)
        dual, bias = dual - fast * pulled, bias - fast * lifted
        alpha = alpha - slow * (error * cosines).sum(1, keepdim=True)
    return dual, alpha, bias
