"""What a regression learns from the support: one-hot classes, floats or multi-hot labels, and which of them are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.head import one_hot
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, eq=False)
class Targets:
    """`values` [E, S, L], zero where unknown; `known` 1 or 0, [E, S, 1] where rows are known or unknown as a whole, else [E, S, L].

    `telling` [E, S]: 1 for rows whose leave-one-out error means something (for classes: another row of the class exists).
    """

    values: Float[Tensor, "E S L"]
    known: Float[Tensor, "E S M"]
    telling: Float[Tensor, "E S"]


def class_targets(episodes: Episodes, like: Tensor) -> Targets:
    """One-hot classes in the dtype of `like`."""
    members = one_hot(episodes, like)
    company = members @ members.sum(dim=1)[..., None]  # the size of each row's class
    return Targets(members, members.sum(dim=-1, keepdim=True), (company[..., 0] > 1).to(like))


def float_targets(episodes: Episodes, like: Tensor) -> Targets:
    """Float targets (NaN unknown) or multi-hot ones (-1 unknown)."""
    label = episodes.support_label
    known = ~label.isnan() if label.is_floating_point() else label >= 0
    known = known & (episodes.support >= 0)[..., None]
    values = label.to(like.dtype).masked_fill(~known, 0.0)
    if bool((known == known[..., :1]).all()):
        known = known[..., :1]
    return Targets(values, known.to(like), known.any(dim=-1).to(like))
