"""Parquet files, one or several of one table: each column is read when it is used, after a check of its size in memory.

The images or texts of large files stay in them, and are read where they are used (`parquet_rows`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.data.items import Items, Texts
from fewtune.data.pictures import is_encoded
from fewtune.data.reading.order import IMAGE_SUFFIXES, some
from fewtune.data.reading.parquet_file import opened, unreadable
from fewtune.data.reading.parquet_rows import ColumnRows, Part, StoredImages, StoredTexts
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

STREAMED = 64 << 20  # bytes of all files from which images and texts stay in them
_BATCH = 1024  # rows unpacked at once, so that a column that is larger than declared is stopped in time
_STRING = 64  # bytes of a short Python string in a list; other values take less
_SEEN = 50  # rows by which a column of texts is told from one of paths


@final
@dataclass(frozen=True, eq=False)
class _File:
    """A file: its columns with their types, its rows, those of each row group, and its bytes."""

    path: Path
    schema: Any
    count: int
    groups: tuple[int, ...]
    size: int


def read_parquet(path: Path, *more: Path, name: str | None = None) -> Table:
    """The table in a Parquet file, or in several with the same columns, one after another; named after the first by default.

    Raises InputError for what cannot be read, now or when a column is used.
    """
    files = [_looked_at(one) for one in (path, *more)]
    names = files[0].schema.names
    if other := next((file for file in files if file.schema.names != names), None):
        raise InputError(f"{other.path} has the columns {some(other.schema.names)}: expected {some(names)} as in {path.name}.")
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise InputError(f"{path} has several columns with the same name ({some(twice)}): rename one.")
    starts = np.cumsum([0, *(file.count for file in files)]).tolist()

    def where(row: int) -> str:
        place = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{files[place].path.name}:{row - starts[place]}"

    return Table(
        name or path.stem,
        Lazy(names, lambda column: _joined([_column(file.path, column) for file in files])),
        starts[-1],
        where,
        path.parent,
        stays=lambda column: _stored(files, column, where),
    )


def _looked_at(path: Path) -> _File:
    with open_regular(path) as file:
        found = opened(path, file)
        size = file.seek(0, 2)
        groups = tuple(found.metadata.row_group(i).num_rows for i in range(found.metadata.num_row_groups))
        count = found.metadata.num_rows
    if sum(groups) != count or min(groups, default=0) < 0:
        raise InputError(f"{path} cannot be read as Parquet: {sum(groups):,} rows in its groups, and {count:,} in all.")
    return _File(path, found.schema_arrow, count, groups, size)


def _joined(parts: Sequence[Any]) -> Any:
    """The values of several files, one after another."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts) and len({part.shape[1:] for part in arrays}) == 1:
        return np.concatenate(arrays)
    return list(chain.from_iterable(parts))


def _stored(files: Sequence[_File], column: str, where: Any) -> Items | None:
    """The images or texts of a column that stay in large files; None for small ones, and for other values."""
    import pyarrow as pa

    kinds = {file.schema.field(column).type for file in files}
    if sum(file.size for file in files) < STREAMED or len(kinds) > 1:
        return None
    [kind] = kinds
    rows = ColumnRows(column, _parts(files), sum(file.count for file in files))
    first = [value for row in range(min(_SEEN, len(rows))) if (value := rows.value(row)) is not None]
    if first and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind)):
        encoded = [value.get("bytes") if isinstance(value, dict) else value for value in first]
        return StoredImages(rows, where) if all(isinstance(value, bytes) and is_encoded(value) for value in encoded) else None
    texts = bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if not texts or not first or any(Path(value[-8:]).suffix.lower() in IMAGE_SUFFIXES or value.lstrip()[:1] == "[" for value in first):
        return None
    return Texts(StoredTexts(rows, where))


def _parts(files: Sequence[_File]) -> list[Part]:
    parts, start = [], 0
    for file in files:
        for group, count in enumerate(file.groups):
            if count:
                parts.append(Part(file.path, group, start))
            start += count
    return parts


def _column(path: Path, name: str) -> Any:
    """The values of one column."""
    import pyarrow as pa

    limit = byte_limit()
    with open_regular(path) as file:
        found = opened(path, file)
        kind = found.schema_arrow.field(name).type
        each = _STRING if _is_text(kind) else 0
        # the file's own metadata on columns is not used: if it is damaged, pyarrow ends the process
        check_room(path, each * found.metadata.num_rows, limit)
        try:
            batches, taken = [], 0
            for batch in found.iter_batches(_BATCH, columns=[name], use_threads=False):
                batches.append(batch.column(0))
                taken += batches[-1].nbytes + each * len(batch)
                check_room(path, taken, limit)
            column = pa.chunked_array(batches, type=kind)
            if len(column) != found.metadata.num_rows:
                raise ValueError(f"{len(column):,} values for {found.metadata.num_rows:,} rows")
            return _values(column)
        except InputError:
            raise
        except (pa.ArrowException, ValueError, OverflowError, OSError) as problem:
            raise unreadable(path, problem, name) from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _values(column: Any) -> Any:
    """Plain values. Lists of numbers of one length become one NumPy array (a list of lists would take ten times the memory)."""
    import pyarrow as pa

    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if lists and pa.types.is_floating(kind.value_type) and column.null_count == 0 and len(column):
        merged = column.combine_chunks()
        flat = merged.flatten()
        width = len(flat) // len(column)
        lengths = merged.value_lengths() if not pa.types.is_fixed_size_list(kind) else None
        if len(flat) == width * len(column) and (lengths is None or np.all(lengths.to_numpy(zero_copy_only=False) == width)):
            return flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
    return column.to_pylist()
