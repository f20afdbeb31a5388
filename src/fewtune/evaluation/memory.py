"""The most memory that a piece of work took."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[Callable[[], int]]:
    """A block whose peak memory in bytes the value it is given tells: of the device, or of this process on the CPU; 0 where unknown."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_allocated(device))
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux begins to count the peak anew
    yield _resident_peak


def _resident_peak() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
