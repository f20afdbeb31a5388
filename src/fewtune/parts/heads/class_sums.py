"""Sums over the rows of each class, block by block: all that closed forms need of a support too large for one-hot labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.features import exact, prepared, widen
from fewtune.tasks.episodes import Episodes

MANY = 1 << 24  # rows x classes of an episode beyond which one-hot labels are not made: 128 MiB in float64
BLOCK = 1 << 13  # rows in working precision at once


@final
@dataclass(frozen=True, eq=False)
class Sums:
    """`count` [E, K]: rows of each class. `total` [E, K, D]: the sum of their features x. `gram` [E, D, D]: the sum of x x^T."""

    count: Float[Tensor, "E K"]
    total: Float[Tensor, "E K D"]
    gram: Float[Tensor, "E D D"]

    @property
    def means(self) -> Float[Tensor, "E K D"]:
        """The mean of each class; zero for a class without rows."""
        return self.total / self.count[..., None].clamp_min(1)


def many(episodes: Episodes) -> bool:
    """Whether one-hot labels of an episode's support would take too much memory."""
    return episodes.support_label.ndim == 2 and episodes.support_label.shape[1] * episodes.ways > MANY


def class_sums(support: Float[Tensor, "E S D"], episodes: Episodes, *, normalize: bool, gram: bool = True) -> Sums:
    """The sums over the support in float64, of unit vectors with `normalize`. Padded rows count nothing. Without `gram`, it stays zero.

    Memory: BLOCK rows, and the sums. The same numbers as by one-hot labels, but for the order of the sums.
    """
    E, S, D = support.shape
    like = exact(widen(support[:, :0]))
    count, total, square = like.new_zeros(E, episodes.ways), like.new_zeros(E, episodes.ways, D), like.new_zeros(E, D, D)
    for start in range(0, S, BLOCK):
        label = episodes.support_label[:, start : start + BLOCK].to(support.device)
        known = (label >= 0).to(like)[..., None]
        rows = prepared(support[:, start : start + BLOCK], known, normalize=normalize)
        place = label.clamp_min(0)
        count = count.scatter_add(1, place, known[..., 0])
        total = torch.stack([sums.index_add(0, place[e], rows[e]) for e, sums in enumerate(total)])
        if gram:
            square = square + torch.bmm(rows.mT, rows)
    return Sums(count, total, square)
