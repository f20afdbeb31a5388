"""Decoding ahead: the rows of the next chunks are read and prepared in threads while this one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fewtune.data.examples import Integers
from fewtune.data.row_space import Preparation, RowSpace
from fewtune.errors import InputError

_AHEAD = 2  # chunks decoded ahead of the current one: memory stays constant


def prefetched(
    space: RowSpace, preparation: Preparation, chunks: Sequence[Integers], workers: int, *, tolerant: bool
) -> Iterator[tuple[Integers, list[Any], dict[int, str]]]:
    """(rows, their prepared items, place in the chunk -> reason for those that failed), chunk by chunk in order.

    If not `tolerant`, the first failure is raised. Pillow and torch release Python's lock while they work, so threads are enough.
    """

    def one(row: int) -> Any:
        try:
            return space.prepared(row, preparation)
        except InputError as problem:
            if not tolerant:
                raise
            return problem
        except OSError as problem:  # a source that does not name the row in its error
            explained = InputError(f"{space.row_name(row)} cannot be read: {problem.strerror or problem}.")
            if not tolerant:
                raise explained from None
            return explained

    if space.modality != "image" or workers <= 1 or all(space.holds(int(row)) for chunk in chunks for row in chunk):
        for chunk in chunks:
            yield _sorted(chunk, [one(int(row)) for row in chunk])
        return
    with ThreadPoolExecutor(workers) as threads:
        waiting: deque[tuple[Integers, list[Future[Any]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, [threads.submit(one, int(row)) for row in chunk]))
                if len(waiting) > _AHEAD:
                    done, futures = waiting.popleft()
                    yield _sorted(done, [f.result() for f in futures])
            while waiting:
                done, futures = waiting.popleft()
                yield _sorted(done, [f.result() for f in futures])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _sorted(chunk: Integers, items: list[Any]) -> tuple[Integers, list[Any], dict[int, str]]:
    failed = {i: str(item) for i, item in enumerate(items) if isinstance(item, InputError)}
    return chunk, [item for item in items if not isinstance(item, InputError)], failed
