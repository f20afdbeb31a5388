"""One small job for every row, in threads: reading and decoding release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")
_BATCH = 64  # rows given to a thread at once


def in_threads(job: Callable[[int], Answer], count: int, workers: int = 0) -> list[Answer]:
    """[job(0), ..., job(count - 1)], in order. `workers`: 0 means as many as there are cores. The first exception is raised."""
    workers = workers or cores()
    if workers == 1 or count <= 1:
        return [job(row) for row in range(count)]
    size = max(1, min(_BATCH, -(-count // workers)))

    def batch(start: int) -> list[Answer]:
        return [job(row) for row in range(start, min(start + size, count))]

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(batch, start) for start in range(0, count, size)]
        try:
            return [answer for future in futures for answer in future.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
