"""Where tasks meet: the features up to which all tasks go the same way. Gradients there stand for those of all that lies below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_FOUND: ContextVar[tuple[list[Tensor], list[Tensor]] | None] = ContextVar("meeting", default=None)


def meeting(features: Tensor, *, head: bool = True) -> Tensor:
    """The features themselves, noted if someone asks. A head whose tasks share a trunk passes what the trunk gives through here.

    `head` False: the features of the backbone, where tasks meet if no head says otherwise.
    """
    found = _FOUND.get()
    if found is not None and features.requires_grad:
        found[head].append(features)
    return features


@contextmanager
def meetings() -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """(features of the backbone, features of heads) that are noted inside."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    token = _FOUND.set(found)
    try:
        yield found
    finally:
        _FOUND.reset(token)
