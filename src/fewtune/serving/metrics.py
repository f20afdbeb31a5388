"""Counts for Prometheus, in its text format."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import final

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


@final
class Histogram:
    """How many values were at most each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, said: str) -> list[str]:
        totals = list(accumulate(self.counts))
        ends = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        return [
            *_head(name, said, "histogram"),
            *(f'{name}_bucket{{le="{end}"}} {total}' for end, total in zip(ends, totals, strict=True)),
            f"{name}_sum {self.sum:.6f}",
            f"{name}_count {totals[-1]}",
        ]


@final
class Metrics:
    """What was asked and answered since the start."""

    def __init__(self) -> None:
        self.began = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.items = 0
        self.latency, self.batch_size, self.batch_seconds = Histogram(_SECONDS), Histogram(_SIZES), Histogram(_SECONDS)

    def batch(self, size: int, seconds: float) -> None:
        self.items += size
        self.batch_size.add(size)
        self.batch_seconds.add(seconds)

    def text(self, held: int) -> str:
        """Everything, in the text format 0.0.4. `held`: items in the queue now."""
        requests = [f'fewtune_requests_total{{path="{path}",status="{code}"}} {n}' for (path, code), n in sorted(self.requests.items())]
        lines = [
            *_head("fewtune_requests_total", "Requests by path and status.", "counter"),
            *requests,
            *_head("fewtune_items_total", "Photos, texts or embeddings answered.", "counter"),
            f"fewtune_items_total {self.items}",
            *_head("fewtune_items_held", "Items that are read, waiting or being answered.", "gauge"),
            f"fewtune_items_held {held}",
            *self.latency.lines("fewtune_request_seconds", "Seconds from a request's first byte to its answer."),
            *self.batch_size.lines("fewtune_batch_items", "Items in one pass of the network."),
            *self.batch_seconds.lines("fewtune_batch_seconds", "Seconds of one pass of the network."),
            *_head("process_start_time_seconds", "When the process started.", "gauge"),
            f"process_start_time_seconds {self.began:.3f}",
        ]
        if (memory := resident()) is not None:
            lines += [*_head("process_resident_memory_bytes", "Memory in use.", "gauge"), f"process_resident_memory_bytes {memory}"]
        return "\n".join(lines) + "\n"


def resident() -> int | None:
    """Bytes of memory that this process uses; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _head(name: str, said: str, kind: str) -> list[str]:
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]
