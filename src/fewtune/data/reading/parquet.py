"""Parquet files: each column is read when it is used, after a check of its size in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fewtune.data.reading.order import some
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

_BATCH = 1024  # rows unpacked at once, so that a column that is larger than declared is stopped in time
_STRING = 64  # bytes of a short Python string in a list; other values take less


def read_parquet(path: Path) -> Table:
    """The table in a Parquet file. Raises InputError for what cannot be read, now or when a column is used."""
    with open_regular(path) as file:
        opened = _opened(path, file)
        names, count = opened.schema_arrow.names, opened.metadata.num_rows
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise InputError(f"{path} has several columns with the same name ({some(twice)}): rename one.")
    return Table(path.stem, Lazy(names, lambda name: _column(path, name)), count, lambda row: f"{path.name}:{row}", path.parent)


def _opened(path: Path, file: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
        opened.schema_arrow  # noqa: B018  (a damaged schema is found here)
    except (pa.ArrowException, ValueError, OSError) as problem:
        raise _unreadable(path, problem) from None
    return opened


def _unreadable(path: Path, problem: BaseException, column: str | None = None) -> InputError:
    said = (str(problem).splitlines() or [type(problem).__name__])[0][:200]
    what = "" if column is None else f", column {column!r},"
    return InputError(f"{path}{what} cannot be read as Parquet: {said}.")


def _column(path: Path, name: str) -> Any:
    """The values of one column."""
    import pyarrow as pa

    limit = byte_limit()
    with open_regular(path) as file:
        opened = _opened(path, file)
        kind = opened.schema_arrow.field(name).type
        each = _STRING if _is_text(kind) else 0
        # the file's own metadata on columns is not used: if it is damaged, pyarrow ends the process
        check_room(path, each * opened.metadata.num_rows, limit)
        try:
            batches, taken = [], 0
            for batch in opened.iter_batches(_BATCH, columns=[name], use_threads=False):
                batches.append(batch.column(0))
                taken += batches[-1].nbytes + each * len(batch)
                check_room(path, taken, limit)
            column = pa.chunked_array(batches, type=kind)
            if len(column) != opened.metadata.num_rows:
                raise ValueError(f"{len(column):,} values for {opened.metadata.num_rows:,} rows")
            return _values(column)
        except InputError:
            raise
        except (pa.ArrowException, ValueError, OverflowError, OSError) as problem:
            raise _unreadable(path, problem, name) from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _values(column: Any) -> Any:
    """Plain values. Lists of numbers of one length become one NumPy array (a list of lists would take ten times the memory)."""
    import numpy as np
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
