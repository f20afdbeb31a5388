"""Files: only plain files are opened, and writing is all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from io import BufferedReader
from pathlib import Path

from fewtune.errors import InputError

RECORD = "fewtune.json"  # in every folder that fewtune writes
_LARGEST_JSON = 64 << 20  # bytes
_LONG_NAME = 200  # bytes: the name of a temporary file is longer than the file's own, and 255 bytes is the most


def expanded(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder. Raises InputError if there is none (no HOME, an unknown user)."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: its home folder is not known; give the full path, or set HOME.") from None


def open_regular(path: Path) -> BufferedReader:
    """Open a plain file for reading. Raises InputError for a folder, a pipe or a device, because reading those may never end."""
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )  # opening a pipe then does not wait for a writer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a plain file (a folder, a pipe or a device): expected a file with data in it.")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, most: int | None = None) -> bytes:
    """The bytes of a plain file (see `open_regular`). Raises InputError if there are more than `most`."""
    with open_regular(path) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise InputError(f"{path} holds more than {most:,} bytes, the limit for such a file.")
    return content


def read_json(path: Path, *, most: int = _LARGEST_JSON) -> object:
    """The content of a JSON file. Raises InputError with the file's name if it is not JSON, and OSError if it cannot be opened."""
    try:
        found: object = json.loads(read_regular(path, most=most).decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:  # also bytes that are not UTF-8, and lists nested too deeply
        if isinstance(problem, InputError):
            raise
        raise InputError(f"{path} cannot be read as JSON ({str(problem) or type(problem).__name__}): expected an object.") from None
    return found


def sha256(path: Path) -> str:
    """The sha256 of a plain file's bytes, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make sure that the folder's entries are on the disk (does nothing if folders cannot be opened)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file so that a reader sees either the old or the complete new content, even after a crash.

    With `new`, nothing is replaced: raises FileExistsError where something has the name already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    called = path.name if len(os.fsencode(path.name)) <= _LONG_NAME else path.name[: _LONG_NAME // 4]
    descriptor, temporary = tempfile.mkstemp(prefix=f".{called}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if new:
            _name_new(Path(temporary), path)
        else:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _name_new(temporary: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where something has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)
        return
    os.unlink(temporary)
