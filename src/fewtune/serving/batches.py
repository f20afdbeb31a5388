"""Micro-batches: items of all requests wait together for a few milliseconds and are answered in one pass; the queue is bounded."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final


@final
class Full(Exception):  # noqa: N818  (not an error of the server)
    """The queue is full. `after`: in how many seconds it is worth to try again."""

    def __init__(self, after: int) -> None:
        super().__init__(f"too many items are waiting: try again in {after} s.")
        self.after = after


@final
class Batches:
    """Answers items in batches of at most `most`. An item waits at most `wait` seconds for others, then goes with those that are there.

    `answers`: a function of a list of items that returns as many answers; it runs in one thread. `queue`: how many items may be held (read,
    waiting or being answered) at once. `seen`: is told the size and the seconds of each batch.
    """

    def __init__(
        self,
        answers: Callable[[list[Any]], Sequence[Any]],
        *,
        most: int,
        wait: float,
        queue: int,
        seen: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        self._answers, self._most, self._wait, self._queue, self._seen = answers, most, wait, queue, seen
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._rate = 0.0  # seconds an item, a running mean
        self.held = 0

    def hold(self, count: int) -> None:
        """Take places in the queue, to be given back by `release`. Raises Full where there are not enough."""
        if self.held + count > self._queue:
            raise Full(max(1, min(60, round(self.held * self._rate))))
        self.held += count

    def release(self, count: int) -> None:
        self.held -= count

    async def ask(self, items: Sequence[Any]) -> list[Any]:
        """The answers to items for which places are held. Raises what `answers` raised for one of them."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        self._some.set()
        if len(self._waiting) >= self._most:
            self._enough.set()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:  # nobody waits for the rest where one failed, or where the client left
                if not future.done():
                    future.cancel()
                elif not future.cancelled():
                    future.exception()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._some.wait()
            if len(self._waiting) < self._most:
                self._enough.clear()
                try:
                    async with asyncio.timeout(self._wait):
                        await self._enough.wait()
                except TimeoutError:
                    pass
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            if not self._waiting:
                self._some.clear()
            alive = [(item, future) for item, future in batch if not future.done()]
            if alive:
                await self._answer(alive)

    async def _answer(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        try:
            found = await loop.run_in_executor(self._thread, self._answers, [item for item, _ in batch])
        except Exception as problem:
            if len(batch) > 1:  # one item may be to blame: the others get their answers
                for one in batch:
                    await self._answer([one])
                return
            if not batch[0][1].done():
                batch[0][1].set_exception(problem)
            return
        seconds = time.perf_counter() - began
        self._rate = 0.9 * self._rate + 0.1 * seconds / len(batch) if self._rate else seconds / len(batch)
        self._seen(len(batch), seconds)
        for (_, future), answer in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(answer)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
