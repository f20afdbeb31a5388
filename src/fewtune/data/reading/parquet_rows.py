"""Rows of one column of large Parquet files, read a few hundred at a time where they are used: the column is never whole in memory."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final, overload

from PIL import Image

from fewtune.data.images import decode
from fewtune.data.items import Modality, content_digest
from fewtune.data.reading.labels import decoded
from fewtune.data.reading.parquet_file import opened, unreadable
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

BLOCK = 256  # rows read at once
KEPT = 16  # blocks in memory: threads that fetch rows of one batch find them there


@final
@dataclass(frozen=True)
class Part:
    """A row group of a file: the rows `start`, `start` + 1, ... of all."""

    path: Path
    group: int
    start: int


@final
@dataclass(eq=False)
class ColumnRows:
    """The values of a column by row. Rows in order are read once; other orders cost a row group up to the row. Threads may share it."""

    column: str
    parts: Sequence[Part]
    count: int
    _recent: OrderedDict[int, list[Any]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _blocks: Iterator[list[Any]] = field(default_factory=lambda: iter(()))
    _part: int = -1
    _next: int = 0

    def __len__(self) -> int:
        return self.count

    def value(self, row: int) -> Any:
        """The value of one row, None where it is missing. Raises InputError where the file cannot be read."""
        with self._lock:
            for start, block in self._recent.items():
                if start <= row < start + len(block):
                    return block[row - start]
            return self._read(row)

    def _read(self, row: int) -> Any:
        part = bisect_right(self.parts, row, key=lambda one: one.start) - 1
        if part != self._part or row < self._next:
            self._blocks, self._part, self._next = _blocks_of(self.parts[part], self.column), part, self.parts[part].start
        for block in self._blocks:
            start, self._next = self._next, self._next + len(block)
            self._recent[start] = block
            if len(self._recent) > KEPT:
                self._recent.popitem(last=False)
            if row < self._next:
                return block[row - start]
        raise InputError(f"{self.parts[part].path} holds fewer rows than it did: read it again.")


def _blocks_of(part: Part, column: str) -> Iterator[list[Any]]:
    """The values of a row group, BLOCK at a time."""
    import pyarrow as pa

    limit = byte_limit()
    with open_regular(part.path) as file:
        found = opened(part.path, file)
        try:
            for batch in found.iter_batches(BLOCK, row_groups=[part.group], columns=[column], use_threads=False):
                check_room(part.path, batch.nbytes, limit)
                yield batch.column(0).to_pylist()
        except InputError:
            raise
        except (pa.ArrowException, ValueError, OverflowError, OSError) as problem:
            raise unreadable(part.path, problem, column) from None


@final
@dataclass(frozen=True, eq=False)
class StoredImages:
    """Encoded images in a column: bytes, or mappings with them as Hugging Face writes."""

    rows: ColumnRows
    name: Callable[[int], str]
    modality: Modality = "image"
    on_disk: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image. Raises InputError where there are none."""
        value = self.rows.value(row)
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise InputError(f"{self.name(row)}: the picture is missing.")
        return content

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        return decode(self.read(row), name=self.name(row), size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        return content_digest(self.read(row))


@final
@dataclass(frozen=True, eq=False)
class StoredTexts(Sequence[str]):
    """Texts in a column; "" where one is missing."""

    rows: ColumnRows
    name: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        value = self.rows.value(row)
        return "" if value is None else decoded(value, self.name(row)) if isinstance(value, bytes) else str(value)
