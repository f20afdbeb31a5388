"""A table of features in one file that is complete or absent: rows are appended to a file with another name, which is renamed at the end.

The file is a plain `.npy` array (float32 [N, D]) followed by a note in JSON: the checksum of the rows and the rows that could not be read.
While it grows, a small file beside it says how many rows are safely on disk, so a killed process loses only a few seconds of work.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np

from fewtune.errors import InputError
from fewtune.files import sync_folder, write_bytes

Floats = np.ndarray[Any, np.dtype[np.float32]]
_MAGIC = b"fewtune features 1\n"
_BLOCK = 1 << 24  # bytes read at once when checking
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@final
@dataclass
class TableFile:
    """A table that is being written; `done` rows are in it, `bad` says which of them could not be read and why."""

    path: Path
    rows: int
    width: int
    file: BinaryIO
    done: int = 0
    checksum: int = 0
    bad: dict[int, str] = field(default_factory=dict)

    def append(self, features: Floats, bad: dict[int, str]) -> None:
        """The next rows [n, D]. They are not safely on disk before `commit`."""
        content = np.ascontiguousarray(features, dtype="<f4").tobytes()
        self.file.write(content)
        self.checksum = zlib.crc32(content, self.checksum)
        self.done += len(features)
        self.bad.update(bad)

    def commit(self) -> None:
        """Make sure that the rows so far are on disk: they are not embedded again after a crash."""
        self.file.flush()
        os.fsync(self.file.fileno())
        write_bytes(_progress(self.path), json.dumps(self._note()).encode())

    def finish(self) -> None:
        """Give the complete table its final name."""
        assert self.done == self.rows
        note = json.dumps(self._note()).encode()
        self.file.write(note + len(note).to_bytes(8, "little") + _MAGIC)
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(_partial(self.path), self.path)
        sync_folder(self.path.parent)
        _progress(self.path).unlink(missing_ok=True)

    def _note(self) -> dict[str, Any]:
        bad = {str(row): reason for row, reason in self.bad.items()}
        return {"rows": self.rows, "width": self.width, "done": self.done, "checksum": self.checksum, "bad": bad}


@contextlib.contextmanager
def writing(path: Path, rows: int, width: int) -> Iterator[TableFile | None]:
    """The table to continue, or None if another process has just finished it (this process waits for it, if files can be locked).

    Raises InputError if the disk is full or writing is not allowed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_partial(path)) as file:
            if path.exists():  # `read_table` removes a table that cannot be read, so another process wrote this one
                if os.fstat(file.fileno()).st_size == 0:
                    _partial(path).unlink(missing_ok=True)
                yield None
                return
            table = _resumed(path, rows, width, file)
            _make_room(table)
            try:
                yield table
            except BaseException:
                with contextlib.suppress(OSError):
                    table.commit()
                raise
    except OSError as problem:
        raise _explained(problem, path.parent, rows * width * 4) from None


def read_table(path: Path, rows: int) -> tuple[Floats, dict[int, str]] | None:
    """(features [N, D], unreadable rows), mapped from a file. None if there is no complete table; a broken file is removed."""
    try:
        with open(path, "rb") as file:
            note, header = _checked(file, rows)
    except OSError:  # missing, or not readable: writing will report why
        return None
    except (ValueError, KeyError, TypeError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    bad = {int(row): str(reason) for row, reason in note["bad"].items()}
    if not rows:
        return np.zeros((0, note["width"]), dtype=np.float32), bad
    # copy on write: nothing is ever written to the file, and torch gives no warning
    return np.memmap(path, dtype="<f4", mode="c", offset=header, shape=(rows, note["width"])), bad


def _checked(file: BinaryIO, rows: int) -> tuple[dict[str, Any], int]:
    """The note at the end of a complete table, and where its rows begin. Raises ValueError for any other file."""
    tail = 8 + len(_MAGIC)
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - tail))
    length, magic = int.from_bytes(file.read(8), "little"), file.read()
    if magic != _MAGIC or length > end - tail:
        raise ValueError("it has no end")
    file.seek(end - tail - length)
    note = json.loads(file.read(length))
    header = _header(note["rows"], note["width"])
    size = note["rows"] * note["width"] * 4
    file.seek(0)
    if note["rows"] != rows or end != len(header) + size + length + tail or file.read(len(header)) != header:
        raise ValueError("it has another size")
    if _checksum(file, size) != note["checksum"]:
        raise ValueError("its rows changed")
    return note, len(header)


def _resumed(path: Path, rows: int, width: int, file: BinaryIO) -> TableFile:
    """The table with the rows that are safely on disk and undamaged, or an empty one."""
    table = TableFile(path, rows, width, file)
    header = _header(rows, width)
    try:
        note = json.loads(_progress(path).read_bytes())
        file.seek(0)
        same = (note["rows"], note["width"]) == (rows, width) and 0 <= note["done"] <= rows and file.read(len(header)) == header
        if same and _checksum(file, note["done"] * width * 4) == note["checksum"]:
            table.done, table.checksum = note["done"], note["checksum"]
            table.bad = {int(row): str(reason) for row, reason in note["bad"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not table.done:
        file.seek(0)
        file.write(header)
    file.seek(len(header) + table.done * width * 4)
    file.truncate()
    return table


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, locked. If it was renamed while we waited, the new file at `path` is locked instead."""
    while True:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            _lock(file)
            try:
                current = path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield file
                return


def _lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:
        return  # without locks, two processes do the same work; the rename still leaves one complete table
    with contextlib.suppress(OSError):  # some network folders have no locks either
        fcntl.flock(file, fcntl.LOCK_EX)


def _make_room(table: TableFile) -> None:
    """Raise OSError early if the disk has too little free space."""
    wanted = (table.rows - table.done) * table.width * 4
    if shutil.disk_usage(table.path.parent).free < wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _explained(problem: OSError, folder: Path, size: int) -> InputError:
    what = f"the feature table ({max(1, size >> 20):,} MB)"
    todo = "set FEWTUNE_CACHE to a folder with more space, or free some; rows that are already embedded are kept."
    if problem.errno in _NO_ROOM:
        return InputError(f"there is not enough space in {folder} for {what}: {todo}")
    return InputError(f"{what} cannot be written to {folder} ({problem.strerror or problem}): set FEWTUNE_CACHE to a folder you may write.")


def _checksum(file: BinaryIO, size: int) -> int:
    """CRC-32 of the next `size` bytes. Raises ValueError if there are fewer."""
    value = 0
    while size:
        block = file.read(min(size, _BLOCK))
        if not block:
            raise ValueError("it is cut off")
        value = zlib.crc32(block, value)
        size -= len(block)
    return value


def _header(rows: int, width: int) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
    return buffer.getvalue()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.part")


def _progress(path: Path) -> Path:
    return path.with_name(f".{path.stem}.done")
