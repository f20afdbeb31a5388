"""Giving a folder its name, or exchanging two folders, so that nothing is lost whenever a process is killed."""

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
    """Rename the folder `new` to `place`. Raises FileExistsError if a file or a folder that is not empty is there.

    No system renames a folder over one that is not empty, so if several processes try at once, exactly one succeeds.
    """
    if os.name == "nt":  # here an empty folder is in the way too
        with contextlib.suppress(OSError):
            place.rmdir()
    try:
        new.rename(place)
    except OSError as problem:
        if problem.errno in _TAKEN:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
        raise


def exchange(new: Path, place: Path) -> Path:
    """Replace the folder at `place` by the folder `new`; returns the path where the old folder is now.

    The two are exchanged in one step if the system can do that. Otherwise the old one is first renamed to `.NAME.*.old`; if the process is
    killed in between, `recover` puts it back later.
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
        except FileExistsError:  # another process put the old folder back, or its own folder there
            old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
        except BaseException:  # a signal can also come between the two
            recover(place)
            raise
    raise FileExistsError(errno.EEXIST, "other processes keep replacing it", str(place))


def recover(place: Path) -> None:
    """If nothing is at `place`, put back the folder that a killed process renamed (see `exchange`)."""
    if os.path.lexists(place):
        return
    aside = [old for old in place.parent.glob(f".{glob.escape(place.name)}.*.old") if (old / RECORD).is_file()]
    if aside:
        with contextlib.suppress(OSError):  # another process may do the same
            take(max(aside, key=lambda old: old.stat().st_ctime_ns), place)


def _at_once(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if the system or the disk cannot do that."""
    swap = _system_swap()
    return swap is not None and swap(os.fsencode(one), os.fsencode(other)) == 0


@functools.cache
def _system_swap() -> Callable[[bytes, bytes], int] | None:
    """The system's function that exchanges two names (0 means success); None if it has none."""
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            rename = library.renamex_np
            return lambda one, other: int(rename(one, other, _SWAP))
        rename = library.renameat2
        return lambda one, other: int(rename(_HERE, one, _HERE, other, _SWAP))
    except (AttributeError, OSError, TypeError):
        return None
