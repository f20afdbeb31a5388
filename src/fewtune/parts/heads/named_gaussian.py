"""NamedGaussian: linear discriminant analysis and zero-shot added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.features import ABSENT, LinearForm, linear_score, widen
from fewtune.parts.heads.gaussian import Gaussian, scatter
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import SCALES, Named, named, of_grid, zero_shot_scale
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

SPREAD = 1.0  # of the logarithm of the weight of the names


@final
@dataclass(frozen=True, kw_only=True)
class NamedGaussian:
    """logits = those of `Gaussian(scale)` + weight x cosine(f, name of the class).

    `weight` > 0, or "loo": for each episode the number w of `named_support.SCALES` with the smallest log-loss of the support rows when each
    is left out of the mean of its class and of the covariance, plus 1/2 (log(w / s))^2, s the scale that suits the names alone on the
    support. Leaving out is exact (a rank-one change), but the variance that the covariance is shrunk towards is that of all rows. Rows
    alone in their class are left out of the sum; where none remains (one label a class), the logits are s x (cosine(f, row of the class) +
    cosine(f, name)), the nearest class mean and the names together: never zero-shot alone. A class without rows is answered by its name,
    with the lowest bias among the others. No gradient flows through the choice. `prompts` as in Text.

    Reference: Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024 (GDA). Departs: the weight is
    chosen on a validation set there; with one row a class its covariance is zero there, and the answer zero-shot.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    weight: float | Literal["loo"] = "loo"
    scale: float = 0.02
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        check_positive_or_loo("the weight", self.weight, "a large one stays with the class names")
        Gaussian(scale=self.scale)

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """{"weight": [E, K, D], "bias": [E, K]}."""
        wide, given = widen(support), named(support, episodes, class_vectors, "NamedGaussian")
        fitted = Gaussian(scale=self.scale).fit(support.to(given.rows), episodes, None, parameters)
        weight = given.rows.new_tensor(self.weight).expand(len(given.rows)) if not isinstance(self.weight, str) else self._chosen(given)
        absent = given.count[:, 0] == 0
        if isinstance(self.weight, str):  # one row a class: means and names on one scale
            raised = torch.where(given.company.sum(dim=(1, 2)) > 0, 1.0, weight / self.scale)
            fitted = {"weight": fitted["weight"] * raised[:, None, None], "bias": fitted["bias"] * raised[:, None]}
        lowest = fitted["bias"].masked_fill(absent, torch.inf).amin(dim=1, keepdim=True)
        bias = torch.where(absent, torch.where(lowest.isfinite(), lowest, 0.0), fitted["bias"])
        return {"weight": (fitted["weight"] + weight[:, None, None] * given.names).to(wide), "bias": bias.to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, True)

    @torch.no_grad()
    def _chosen(self, given: Named) -> Float[Tensor, " E"]:
        usual, cosines = zero_shot_scale(given), given.zero_shot
        without = left_out(given, self.scale).masked_fill(given.count == 0, ABSENT)
        totals = []
        for w in SCALES:
            far = ((math.log(w) - usual.log()) / SPREAD).square()
            totals.append(given.loss(without + w * cosines, given.company) + 0.5 * far)
        chosen = of_grid(SCALES, totals, cosines)
        return torch.where(given.company.sum(dim=(1, 2)) > 0, chosen, usual)


def left_out(given: Named, scale: float) -> Float[Tensor, "E S K"]:
    """The logits of `Gaussian(scale)` for each support row when it is left out; those of rows alone in their class mean nothing.

    With M = S + t I (S the scatter within classes, t its shrinkage) and r the row less the mean of its class of n, leaving it out takes
    q r r^T from S, q = n / (n - 1), and r / (n - 1) from the mean; the inverse follows Sherman and Morrison.
    """
    means, inverse, fewer = scatter(given.rows, given.members, without=1)
    toward = inverse(means)
    xm, mm = torch.bmm(given.rows, toward.mT), torch.bmm(means, toward.mT)
    xx = (given.rows * inverse(given.rows)).sum(-1)
    own = given.members
    size = (given.members * given.count).sum(-1).clamp_min(2)
    x_own, m_own = (own * xm).sum(-1), torch.bmm(own, mm.diagonal(dim1=1, dim2=2)[..., None])[..., 0]
    rm, xr, rr = xm - torch.bmm(own, mm), xx - x_own, xx - 2 * x_own + m_own
    q = size / (size - 1)
    rest = (1 - q * rr).clamp_min(1e-9)
    x_mean = xm + (q * xr / rest)[..., None] * rm
    m_mean = mm.diagonal(dim1=1, dim2=2)[:, None] + (q / rest)[..., None] * rm.square()
    share = 1 / (size - 1)
    x_mean = x_mean - own * (share * xr / rest)[..., None]
    m_mean = m_mean - own * (2 * share / rest)[..., None] * rm + own * (share.square() * rr / rest)[..., None]
    return scale * fewer[:, None, None] * (x_mean - m_mean / 2)
