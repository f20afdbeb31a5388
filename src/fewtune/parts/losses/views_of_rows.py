"""Losses on views: the query holds rows more than once, in different views, which should be near each other and far from other rows.

Two query rows belong together where they are the same row of the row space; labels are not looked at. See the sampler `Twins`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.parts.losses.alike import mean_log_share
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import needed, widened


@final
@dataclass(frozen=True, kw_only=True)
class NtXent:
    """SimCLR's loss, the mean over views i of -log softmax_j z[i, j] at the other view j of i's row; the softmax is over all views but i.

    z = cosine(query i, query j) / `temperature`. With N rows in two views it is (1 / 2N) sum_k [l(2k-1, 2k) + l(2k, 2k-1)]; where all
    vectors are alike it is log(2N - 1). With more views of a row, the mean over its others.
    Reference: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, equation 1.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        _check("NtXent", self.temperature)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        cosine, alike, other = _views(outcome, "NtXent")
        return mean_log_share(cosine / self.temperature, alike, alike | other)


@final
@dataclass(frozen=True, kw_only=True)
class OneNegative:
    """The mean over views i of l_u(v) = log(1 + e^-v), v = (cosine(i, i+) - cosine(i, i-)) / `temperature`: one positive, one negative.

    i+ is the next other view of i's row in the query's order (going round), i- the next view of another row: the empirical form, one
    draw each, since batches come in random order. `Population` averages over all draws.
    Reference: Saunshi et al., "A theoretical analysis of contrastive unsupervised representation learning", ICML 2019, equation 2.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        _check("OneNegative", self.temperature)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        cosine, alike, other = _views(outcome, "OneNegative")
        scored = alike.any(2) & other.any(2)
        near, far = (cosine.gather(2, _next(which)[..., None])[..., 0] for which in (alike, other))
        cost = functional.softplus((far - near) / self.temperature).masked_fill(~scored, 0.0)
        return cost.sum(1) / scored.sum(1).clamp_min(1)


@final
@dataclass(frozen=True, kw_only=True)
class Population:
    """As `OneNegative`, averaged over all pairs of a positive and a negative of each view: what one draw estimates without bias.

    It costs (2N)^3 terms for N rows in two views. Reference: as for `OneNegative`.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        _check("Population", self.temperature)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        cosine, alike, other = _views(outcome, "Population")
        pairs = alike[..., :, None] & other[..., None, :]
        cost = functional.softplus((cosine[..., None, :] - cosine[..., :, None]) / self.temperature).masked_fill(~pairs, 0.0)
        count = pairs.sum((2, 3))
        return (cost.sum((2, 3)) / count.clamp_min(1)).sum(1) / (count > 0).sum(1).clamp_min(1)


def _views(outcome: Outcome, loss: str) -> tuple[Float[Tensor, "E Q Q"], Bool[Tensor, "E Q Q"], Bool[Tensor, "E Q Q"]]:
    """(cosines, which pairs are two views of one row, which are of different rows); padding is in no pair."""
    rows = outcome.episodes.query
    known = rows >= 0
    vectors = widened(needed("features of the query", outcome.query, loss)).masked_fill(~known[..., None], 1.0)
    both = known[:, :, None] & known[:, None, :]
    same = rows[:, :, None] == rows[:, None, :]
    itself = torch.eye(rows.shape[1], dtype=torch.bool, device=rows.device)
    return torch.bmm(unit(vectors), unit(vectors).mT), both & same & ~itself, both & ~same


def _next(which: Bool[Tensor, "E Q Q"]) -> Tensor:
    """For each row of a table, the first true column after the diagonal, going round."""
    size = which.shape[1]
    places = torch.arange(size, device=which.device)
    ahead = (places[None, :] - places[:, None]) % size
    return torch.where(which, ahead, size).argmin(2)


def _check(loss: str, temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise InputError(f"the temperature of {loss} divides cosines: it must be a positive number, found {temperature}.")
