"""Gaussian: linear discriminant analysis with a shrunk covariance that all classes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.class_sums import class_sums, many
from fewtune.parts.heads.features import ABSENT, LinearForm, class_means, exact, linear_score, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Classes are Gaussian with means mu_c and one covariance: logits = scale x (f . P mu_c - 1/2 mu_c . P mu_c), f and rows unit vectors.

    With C the covariance of the n rows around the means of their K classes (divisor n - K), P is the inverse of C shrunk towards
    its mean variance: C' = ((n - K) C + tr(C) I) / (n - K + D), D the width. Solved in float64, over rows (Woodbury) where
    there are fewer rows than features. With one
    row a class C is zero, and P = I: the nearest class mean. A class without support takes no part: weight 0, bias -10,000.

    `scale` > 0: logits in many dimensions are far too sure; .02 is right within a factor of two for features of MobileNetV2 and
    MiniLM (training classes of seven data sets, 5 and 8 examples a class).

    Reference: Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024. Departs: no text term, equal
    priors, P = I instead of a zero covariance at one row a class.
    """

    scale: float = 0.02
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise InputError(f"the scale must be a positive number, found {self.scale}.")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "bias": [E, K]}."""
        wide = widen(support)
        if many(episodes):
            sums = class_sums(support, episodes, normalize=True)
            count, means = sums.count, sums.means
            within = _over_features(sums.gram - torch.bmm(sums.total.mT, means), freedom_of(count))
        else:
            members = one_hot(episodes, exact(wide[:0]))
            features = prepared(support, members.sum(dim=-1, keepdim=True), normalize=True)
            count, means = members.sum(dim=1), class_means(features, members, members)
            within = _inverse(features - torch.bmm(members, means), freedom_of(count))
        weight = self.scale * _by_precision(means, within)
        bias = -(weight * means).sum(-1) / 2
        return {"weight": weight.to(wide), "bias": bias.masked_fill(count == 0, ABSENT).to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, True)


def freedom_of(count: Float[Tensor, "E K"]) -> Float[Tensor, " E"]:
    """n - K, at least 1, of the rows of each class."""
    return (count.sum(1) - (count > 0).sum(1)).clamp_min(1)


def _by_precision(means: Tensor, within: tuple[Callable[[Tensor], Tensor], Tensor, Tensor]) -> Tensor:
    """P mu_c for each class mean [E, K, D], from what `_inverse` says of the centred rows R [E, S, D].

    C' = (R^T R + t I) / (n - K + D) with t = tr(C), so P = (n - K + D) (I - R^T (t I + R R^T)^-1 R) / t.
    """
    inverse, factor, flat = within
    return torch.where(flat[:, None, None], means, inverse(means) * factor[:, None, None])


def scatter(
    rows: Float[Tensor, "E S D"], members: Float[Tensor, "E S K"], without: int = 0
) -> tuple[Float[Tensor, "E K D"], Callable[[Tensor], Tensor], Float[Tensor, " E"]]:
    """(class means, M^-1 as a function of rows V [E, N, D], the factor n - K + D of it that is P), with M = R^T R + t I.

    `without`: so many rows fewer count in the factor. It is 1 where there is no spread within any class.
    """
    means = class_means(rows, members, members)
    count = members.sum(dim=1)
    inverse, factor, flat = _inverse(rows - torch.bmm(members, means), freedom_of(count))
    return means, inverse, torch.where(flat, 1.0, factor - without)


def _inverse(rest: Tensor, freedom: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """(V -> M^-1 V, n - K + D, where there is no spread within any class: M = I there) of centred rows [E, S, D]."""
    if rest.shape[1] > rest.shape[2]:
        return _over_features(torch.bmm(rest.mT, rest), freedom)
    trace = rest.square().sum((1, 2)) / freedom
    flat = trace <= 1e-12
    t = torch.where(flat, torch.ones_like(trace), trace)[:, None, None]
    gram = torch.bmm(rest, rest.mT) + t * torch.eye(rest.shape[1], dtype=rest.dtype, device=rest.device)

    def inverse(vectors: Tensor) -> Tensor:
        inside = torch.linalg.solve(gram, torch.bmm(rest, vectors.mT))
        return (vectors - torch.bmm(inside.mT, rest)) / t

    return inverse, freedom + rest.shape[-1], flat


def _over_features(within: Tensor, freedom: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """The same from R^T R [E, D, D]."""
    trace = within.diagonal(dim1=1, dim2=2).sum(-1) / freedom
    flat = trace <= 1e-12
    t = torch.where(flat, torch.ones_like(trace), trace)[:, None, None]
    factor, _ = torch.linalg.cholesky_ex(within + t * torch.eye(within.shape[-1], dtype=within.dtype, device=within.device))
    return lambda vectors: torch.cholesky_solve(vectors.mT, factor).mT, freedom + within.shape[-1], flat
