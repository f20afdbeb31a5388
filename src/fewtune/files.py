"""Files that are whole or absent: write to a temporary name, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from fewtune.errors import InputError

_STALE = 3600.0  # seconds
_LARGEST_JSON = 64 << 20  # bytes


def expanded(path: str | Path) -> Path:
    """A path with its `~` replaced by the home folder. Raises InputError where there is none (no HOME, an unknown user)."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: the home folder it means is not known; give the whole path, or set HOME.") from None


def open_regular(path: Path) -> BufferedReader:
    """Open a plain file for reading. Raises InputError for a folder, a pipe or a device, which could be waited for or read for ever."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # a pipe does not wait for a writer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a plain file (a folder, a pipe or a device): expected a file with data in it.")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, most: int | None = None) -> bytes:
    """The bytes of a plain file (see `open_regular`). Raises InputError where there are more than `most`."""
    with open_regular(path) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise InputError(f"{path} holds more than {most:,} bytes, the most that is read of such a file.")
    return content


def read_json(path: Path, *, most: int = _LARGEST_JSON) -> object:
    """What a JSON file holds. Raises InputError, with the file's name, for anything that is none, and OSError where it cannot be opened."""
    try:
        found: object = json.loads(read_regular(path, most=most).decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:  # also bytes that are no UTF-8, and lists in lists in lists
        if isinstance(problem, InputError):
            raise
        raise InputError(f"{path} is not JSON that can be read ({str(problem) or type(problem).__name__}): expected an object.") from None
    return found


def sha256(path: Path) -> str:
    """The sha256 of a plain file's bytes, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Ask the system to make the folder's entries durable (a no-op where folders cannot be opened)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new one, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears under `path` only when the block ends well; on any error nothing is left behind.

    An existing `path` is refused before any work unless `overwrite`, and is then replaced only once the new one is complete.
    """
    refuse_existing(path, overwrite=overwrite)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        for entry in temporary.rglob("*"):
            if entry.is_file():
                with open(entry, "rb") as file:
                    os.fsync(file.fileno())
        sync_folder(temporary)
        temporary.chmod(0o755)
        _swap(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sweep(path: Path) -> None:
    """Remove what a killed process left of an earlier attempt at `path`: our temporary folders that nobody has touched for an hour."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if stale.is_dir() and not stale.is_symlink() and time.time() - stale.stat().st_mtime > _STALE:
            shutil.rmtree(stale, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise InputError when `path` exists and must not be replaced. An empty folder counts as absent.

    With `overwrite`, only a folder that fewtune wrote (it holds a `fewtune.json`) or a lone empty folder may be replaced.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        _refuse_closed(path)
        return
    if not overwrite:
        raise InputError(f"{path} exists already: choose another --out, or pass --overwrite to replace it.")
    if not path.is_dir() or not (path / "fewtune.json").is_file():
        raise InputError(f"{path} was not written by fewtune, so --overwrite does not touch it: choose another --out.")


def _refuse_closed(path: Path) -> None:
    """Raise InputError where no folder can be made at `path`: better now than after an hour of work."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"{above} is a file, so no folder can be made in it: choose another --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{above} may not be written in: choose another --out, or change its permissions.")


def _swap(temporary: Path, path: Path) -> None:
    """Put `temporary` in the place of `path`; the old folder is removed only after the new one stands."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:  # a signal, too, may come between the two
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)
