"""Connections on which no request arrives are closed; others are left alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fewtune.serving import slow


class Transport:
    closed = False

    def close(self) -> None:
        self.closed = True


def connection(complete: bool | None) -> Any:
    """A protocol as uvicorn has it: before a first request, while one is answered, or after it."""
    cycle = None if complete is None else SimpleNamespace(response_complete=complete)
    made = type("Protocol", (), {})()
    made.cycle, made.transport = cycle, Transport()
    return made


def test_only_who_waits_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(slow.time, "monotonic", lambda: now)
    first, answering, kept, busy = connection(None), connection(False), connection(True), connection(None)
    open_now = [first, answering, kept, busy]
    close = slow.closing_slow(lambda: open_now, 10.0)
    for now, closed in ((0.0, []), (9.0, []), (10.0, []), (10.5, [first, kept])):
        if now == 9.0:
            busy.cycle = SimpleNamespace(response_complete=False)  # its request came
        if now == 10.0:
            busy.cycle = SimpleNamespace(response_complete=True)  # and was answered: it may send another one
        asyncio.run(close())
        assert [one for one in open_now if one.transport.closed] == closed, now
    open_now.remove(busy)
    asyncio.run(close())
    now = 21.0
    open_now.append(busy)
    asyncio.run(close())
    assert not busy.transport.closed  # seen again, it waits from now on
