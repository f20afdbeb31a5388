"""A support beside the vectors of its class names: what heads between zero-shot and the support share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.lengths import lengths, unit
from fewtune.parts.heads.features import exact, prepared, widen
from fewtune.parts.heads.head import State, one_hot
from fewtune.parts.heads.prompts import directions
from fewtune.tasks.episodes import Episodes

SCALES = tuple(2.0 ** (half / 2) for half in range(2, 15))  # 2 ... 128
USUAL_SCALE, SPREAD = 16.0, 1.0  # of the scale before anything is seen, and of its logarithm


@final
@dataclass(frozen=True, eq=False)
class Named:
    """In float64: unit features `rows` (zero in padding), one-hot labels `members`, unit class vectors `names`, and the `real` classes."""

    rows: Float[Tensor, "E S D"]
    members: Float[Tensor, "E S K"]
    names: Float[Tensor, "E K D"]
    real: Bool[Tensor, "E 1 K"]

    @property
    def zero_shot(self) -> Float[Tensor, "E S K"]:
        """Cosines of the rows with the names."""
        return torch.bmm(self.rows, self.names.mT)

    @property
    def count(self) -> Float[Tensor, "E 1 K"]:
        """Rows of each class."""
        return self.members.sum(dim=1, keepdim=True)

    @property
    def seen(self) -> Bool[Tensor, "E 1 K"]:
        """The classes with rows, among which rows are told apart; all real ones where there is no row."""
        some = self.count > 0
        return torch.where(some.any(dim=-1, keepdim=True), some, self.real)

    @property
    def company(self) -> Float[Tensor, "E S K"]:
        """The members, without rows that are alone in their class: left out, those say nothing."""
        return self.members * (self.count > 1)

    def loss(self, logits: Float[Tensor, "E S K"], told: Float[Tensor, "E S K"]) -> Float[Tensor, " E"]:
        """The log-losses of the rows of `told`, summed, among the classes with rows."""
        logs = logits.masked_fill(~self.seen, -torch.inf).log_softmax(dim=-1)
        return -logs.masked_fill(told == 0, 0.0).sum(dim=(1, 2))


def named(support: Tensor, episodes: Episodes, class_vectors: Tensor | None, head: str) -> Named:
    """The support of some episodes beside their class vectors. Raises InputError where there are none."""
    wide = widen(support)
    names = exact(unit(widen(directions(class_vectors, head, support.shape[-1])).to(wide)))
    members = one_hot(episodes, exact(wide[:0]))
    rows = prepared(support, members.sum(dim=-1, keepdim=True), normalize=True)
    return Named(rows, members, names, (episodes.classes >= 0)[:, None, :].to(names.device))


@torch.no_grad()
def zero_shot_scale(given: Named) -> Float[Tensor, " E"]:
    """For each episode, which of SCALES, multiplied with the cosines of rows and names, suits the labels best: the smallest log-loss plus
    1/2 (log(scale / 16) / 1)^2. The rows are not learned from here, so none is left out. 16 where there is no row.

    So a strength beside it needs no unit: encoders differ in how far apart their cosines are.
    """
    cosines = given.zero_shot
    totals = [given.loss(scale * cosines, given.members) + 0.5 * (math.log(scale / USUAL_SCALE) / SPREAD) ** 2 for scale in SCALES]
    return of_grid(SCALES, totals, cosines)


def far(values: Sequence[float], usual: Sequence[float], spreads: Sequence[float]) -> float:
    """1/2 the sum of ((log value - log usual) / spread)^2: how unlikely strengths are before anything is seen."""
    return 0.5 * sum((math.log(value / middle) / spread) ** 2 for value, middle, spread in zip(values, usual, spreads, strict=True))


def nearness(state: State, features: Float[Tensor, "E Q D"]) -> Float[Tensor, "E Q S"]:
    """exp(-beta (1 - cosine)) of queries and the unit rows "support" of a state, which holds "beta" [E] too."""
    cosines = torch.bmm(features, state["support"].to(features).mT) / lengths(features)
    return torch.exp(-state["beta"].to(features)[:, None, None] * (1 - cosines))


def of_grid(grid: tuple[float, ...], totals: list[Tensor], like: Tensor) -> Float[Tensor, " E"]:
    """The value of a grid with the smallest total of each episode; the first of equal ones."""
    return torch.tensor(grid, dtype=like.dtype, device=like.device)[torch.stack(totals, dim=1).argmin(dim=1)]
