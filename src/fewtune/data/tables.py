"""Tables read from files: CSV, TSV, JSONL, JSON and Parquet, as columns of plain values with the line that each row came from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fewtune.data.order import some
from fewtune.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length. `where` tells how a row is called in messages; paths in it are relative to `folder`."""

    name: str
    columns: Mapping[str, Any]
    count: int
    where: Callable[[int], str]
    folder: Path


def read_table(path: Path) -> Table:
    """The table in a file, by its suffix. Raises InputError naming the line where something is wrong."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return _parquet(path)
        text = _text(path)
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from None
    if suffix in (".jsonl", ".ndjson"):
        return _records(path, list(_json_lines(path, text)))
    if suffix == ".json":
        return _records(path, list(_json_list(path, text)))
    return _csv(path, text, "\t" if suffix in (".tsv", ".tab") else None)


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16 text: save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise InputError(f"{path}, line {line}: a byte there is not UTF-8: save the file as UTF-8.") from None


def _csv(path: Path, text: str, delimiter: str | None) -> Table:
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if delimiter is None:
        delimiter = max((",", ";", "\t"), key=first.count) if "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] | None = None
    start = 1
    try:
        for row in reader:
            if row and header is None:
                header = _header(row, path)
            elif row and header is not None:
                if len(row) != len(header):
                    raise InputError(
                        f"{path}, line {start}: expected {len(header)} fields as in the header, found {len(row)} "
                        "(put quotes around a field that holds a comma or a line break)."
                    )
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as problem:
        raise InputError(
            f"{path}, line {start}: {problem} (a quote that is never closed, or a field too long: JSONL has no such limits)."
        ) from None
    if header is None:
        raise InputError(f"{path} is empty: expected a header line with column names.")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return Table(path.stem, columns, len(rows), lambda row: f"{path.name}:{lines[row]}", path.parent)


def _header(row: list[str], path: Path) -> list[str]:
    names = [name.strip() for name in row]
    if twice := sorted({name for name in names if names.count(name) > 1 and name}):
        raise InputError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}: rename one.")
    return [name or f"column {i + 1}" for i, name in enumerate(names)]


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise InputError(f"{path}, line {number}: no JSON object ({problem}); expected one object a line.") from None
        if not isinstance(record, dict):
            raise InputError(f'{path}, line {number}: expected a JSON object such as {{"text": ..., "label": ...}}, found {line[:40]!r}.')
        yield number, record


def _json_list(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is no JSON ({problem}): expected a list of objects, or JSONL with one object a line.") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f'{path}: expected a list of objects such as {{"text": ..., "label": ...}}, found something else.')
    yield from enumerate(records)


def _records(path: Path, records: list[tuple[int, dict[str, Any]]]) -> Table:
    if not records:
        raise InputError(f"{path} is empty: expected one JSON object for each example.")
    names = dict.fromkeys(name for _, record in records for name in record)
    columns = {name: [record.get(name) for _, record in records] for name in names}
    lines = [number for number, _ in records]
    return Table(path.stem, columns, len(records), lambda row: f"{path.name}:{lines[row]}", path.parent)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, ValueError) as problem:
        raise InputError(f"{path} cannot be read as Parquet: {str(problem).splitlines()[0]}.") from None
    names = table.column_names
    if len(set(names)) < len(names):
        raise InputError(f"{path} has several columns of one name ({some(sorted({n for n in names if names.count(n) > 1}))}): rename one.")
    columns = {name: _values(table.column(name)) for name in names}
    return Table(path.stem, columns, table.num_rows, lambda row: f"{path.name}:{row}", path.parent)


def _values(column: Any) -> Any:
    """Plain values; lists of numbers of one length as one NumPy array (a list of lists would take ten times the room)."""
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
