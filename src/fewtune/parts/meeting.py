"""Where tasks meet: the features up to which all tasks go the same way. Gradients there stand for those of all that lies below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from fewtune.backbones.gathered import gathered


@final
@dataclass(frozen=True, eq=False)
class Met:
    """Features [E, B, D] of the backbone for `rows` [E, B]: `features[e, b] = table[place[e, b]]`, where `table` [U, D] has each row once.
    None for both where the features are not such rows."""

    features: Tensor
    rows: Tensor
    table: Tensor | None = None
    place: Tensor | None = None

    def detached(self) -> Met:
        """The same without the graph."""
        return Met(self.features.detach(), self.rows, None if self.table is None else self.table.detach(), self.place)


@final
@dataclass(frozen=True, eq=False)
class Picked:
    """Rows [E, K, ...] of a weight `table` [N, ...] by `index` [E, K]: episode e reads picked[e], and nothing else of the weight."""

    table: Tensor
    index: Tensor
    rows: Tensor


@final
@dataclass(frozen=True, eq=False)
class Meetings:
    """What was noted: the features of the backbone, those [E, Q, D] of heads for the query, and rows that episodes picked of weights."""

    backbone: list[Met] = field(default_factory=list)
    heads: list[Tensor] = field(default_factory=list)
    picked: list[Picked] = field(default_factory=list)


_FOUND: ContextVar[Meetings | None] = ContextVar("meetings", default=None)


def meeting(features: Tensor) -> Tensor:
    """The features themselves [E, Q, D], noted if someone asks. A head whose tasks share a trunk passes what the trunk gives for the query
    through here."""
    found = _FOUND.get()
    if found is not None and features.requires_grad:
        found.heads.append(features)
    return features


def embedding(features: Tensor, rows: Tensor, table: Tensor | None = None, place: Tensor | None = None) -> Tensor:
    """The features of the backbone themselves, noted as `Met`: where tasks meet if no head says otherwise."""
    found = _FOUND.get()
    if found is not None and features.requires_grad:
        found.backbone.append(Met(features, rows, table, place))
    return features


def picked(table: Tensor, index: Tensor) -> Tensor:
    """table[index], [E, K, ...], noted as `Picked`: for weights of which an episode reads its own rows alone."""
    rows = gathered(table, index)
    found = _FOUND.get()
    if found is not None and rows.requires_grad:
        found.picked.append(Picked(table, index, rows))
    return rows


@contextmanager
def meetings() -> Iterator[Meetings]:
    """What is noted inside."""
    found = Meetings()
    token = _FOUND.set(found)
    try:
        yield found
    finally:
        _FOUND.reset(token)
