"""How much memory reading may take: a small file can unpack to more memory than the machine has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fewtune.errors import InputError

SHARE = 0.75
"""The share of the free memory that one file may take. The environment variable FEWTUNE_MAX_BYTES sets a limit in bytes instead."""


def check_room(path: Path, size: int, limit: int | None) -> None:
    """Raise InputError if the content of a file, `size` bytes in memory, is more than the `limit` (see `byte_limit`)."""
    if limit is not None and size > limit:
        raise InputError(
            f"{path} would take {_gigabytes(size)} of memory, more than the limit of {_gigabytes(limit)} "
            "(by default three quarters of the free memory): give fewer rows, or set FEWTUNE_MAX_BYTES to allow more."
        )


def byte_limit() -> int | None:
    """The most bytes that one file may take in memory: FEWTUNE_MAX_BYTES, or SHARE of the free memory; None if that is unknown."""
    spelled = os.environ.get("FEWTUNE_MAX_BYTES", "")
    if not spelled:
        free = free_memory()
        return None if free is None else int(SHARE * free)
    try:
        return int(float(spelled))
    except (ValueError, OverflowError):
        raise InputError(f"FEWTUNE_MAX_BYTES is {spelled!r}: expected a number of bytes such as 8e9.") from None


def free_memory() -> int | None:
    """Bytes that this process can still take: the smallest limit of system, control group and process; None if unknown."""
    known = [found for found in (_of_system(), _of_group(), _of_process()) if found is not None]
    return max(0, min(known)) if known else None


def _of_system() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left below the limit of a container. Cached pages of files can be freed, so they count as free."""
    with contextlib.suppress(OSError, ValueError):
        most, used = int((folder / "memory.max").read_text()), int((folder / "memory.current").read_text())
        counted = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - used + int(counted.get("inactive_file", 0))
    return None


def _of_process() -> int | None:
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return most - pages * os.sysconf("SC_PAGE_SIZE")
    return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
