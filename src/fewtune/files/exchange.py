"""Folders that get a name or change places, so that nothing is lost at any moment a process may be killed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import glob
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fewtune.files.plain import RECORD

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
_HERE, _SWAP = -100, 2  # AT_FDCWD; RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS
_TRIES = 50


def take(new: Path, place: Path) -> None:
    """Give the folder `new` the name `place`. Raises FileExistsError where a file or a folder that holds anything stands there.

    No system renames a folder onto one that holds something, so of several processes at once exactly one succeeds.
    """
    if os.name == "nt":  # where an empty folder is in the way too
        with contextlib.suppress(OSError):
            place.rmdir()
    try:
        new.rename(place)
    except OSError as problem:
        if problem.errno in _TAKEN:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
        raise


def exchange(new: Path, place: Path) -> Path:
    """Put the folder `new` in the place of the folder at `place`; returns where that one lies now.

    Both change places at once where the system can do that. Elsewhere the old one steps aside as `.NAME.*.old` first, and a process that is
    killed in between leaves it there for `recover`.
    """
    if _at_once(new, place):
        return new
    old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
    for attempt in range(_TRIES):
        try:
            place.rename(old)
        except FileNotFoundError:  # another process is between its two renames
            time.sleep(0.01 * attempt)
            recover(place)
            continue
        try:
            take(new, place)
            return old
        except FileExistsError:  # another process put ours back, or its own there
            old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
        except BaseException:  # a signal, too, may come between the two
            recover(place)
            raise
    raise FileExistsError(errno.EEXIST, "other processes replace it all the time", str(place))


def recover(place: Path) -> None:
    """Where nothing stands at `place`, put back the folder that a killed process moved aside from there (see `exchange`)."""
    if os.path.lexists(place):
        return
    aside = [old for old in place.parent.glob(f".{glob.escape(place.name)}.*.old") if (old / RECORD).is_file()]
    if aside:
        with contextlib.suppress(OSError):  # another process may do the same
            take(max(aside, key=lambda old: old.stat().st_ctime_ns), place)


def _at_once(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system or the disk cannot."""
    swap = _system_swap()
    return swap is not None and swap(os.fsencode(one), os.fsencode(other)) == 0


@functools.cache
def _system_swap() -> Callable[[bytes, bytes], int] | None:
    """The system's own exchange of two names, 0 for success; None where it has none."""
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            rename = library.renamex_np
            return lambda one, other: int(rename(one, other, _SWAP))
        rename = library.renameat2
        return lambda one, other: int(rename(_HERE, one, _HERE, other, _SWAP))
    except (AttributeError, OSError, TypeError):
        return None
