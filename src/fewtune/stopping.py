"""Stopping in order: a request to stop is remembered until the work reaches a step where it can stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class Stopped(BaseException):
    """Somebody asked the run to stop."""


_asked: list[bool] = []  # one entry for each running block that finishes its step first: whether a stop was requested in the meantime


def ask_to_stop() -> None:
    """Raise Stopped, or, within `finishing`, let the block come to a good place first."""
    if not _asked:
        raise Stopped
    _asked[:] = [True] * len(_asked)


@contextlib.contextmanager
def finishing() -> Iterator[Callable[[], bool]]:
    """A block that looks, whenever it can be left, whether it should: the value it is given says so. At its end a request is honoured."""
    _asked.append(False)
    try:
        yield lambda: _asked[-1]
    except BaseException:
        _asked.pop()
        raise
    if _asked.pop():
        raise Stopped
