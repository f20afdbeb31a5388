"""Where tasks meet: the features up to which all tasks go the same way. Gradients there stand for those of all that lies below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class Meetings:
    """Features [E, B, D] that were noted, each with its rows [E, B] (None: the query): of the backbone, and of heads."""

    backbone: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    heads: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)


_FOUND: ContextVar[Meetings | None] = ContextVar("meetings", default=None)


def meeting(features: Tensor, rows: Tensor | None = None) -> Tensor:
    """The features themselves [E, B, D], noted if someone asks. A head whose tasks share a trunk passes what the trunk gives for the query
    through here.

    `rows` [E, B]: given for the features of the backbone, where tasks meet if no head says otherwise.
    """
    found = _FOUND.get()
    if found is not None and features.requires_grad:
        (found.heads if rows is None else found.backbone).append((features, rows))
    return features


@contextmanager
def meetings() -> Iterator[Meetings]:
    """The features that are noted inside."""
    found = Meetings()
    token = _FOUND.set(found)
    try:
        yield found
    finally:
        _FOUND.reset(token)
