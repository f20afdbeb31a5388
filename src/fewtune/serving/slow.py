"""Connections on which no request arrives: uvicorn waits for ever for the first one and for its last line, and each takes a place."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any


def closing_slow(connections: Callable[[], Iterable[Any]], seconds: float) -> Callable[[], Awaitable[None]]:
    """A function to call now and then: it closes each connection that has waited longer than `seconds` for the whole head of a request.

    `connections`: uvicorn's protocols of the open connections. While a request is read or answered, other limits hold (`Limits.seconds`).
    """
    since: dict[Any, float] = {}

    async def close() -> None:
        now = time.monotonic()
        idle = {one for one in connections() if one.cycle is None or one.cycle.response_complete}
        for gone in since.keys() - idle:
            del since[gone]
        for one in idle:
            if now - since.setdefault(one, now) > seconds:
                one.transport.close()

    return close
