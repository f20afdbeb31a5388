"""Tables from files (CSV, TSV, JSONL, JSON, Parquet and Excel): columns of plain values, and the line of the file for each row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewtune.data.excel import EXCEL_SUFFIXES, read_excel
from fewtune.data.reading.csv_text import read_csv
from fewtune.data.reading.parquet import read_parquet
from fewtune.data.reading.table import Lazy, Separated, Table
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

MARK = "\ufeff"  # the byte order mark: some programs begin UTF-8 files with it


def read_table(path: Path) -> Table:
    """The table in a file, by its suffix. Raises InputError with the line where something is wrong."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return read_parquet(path)
        if suffix in EXCEL_SUFFIXES:
            return read_excel(path)
        text = _text(path)
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from None
    if suffix in (".jsonl", ".ndjson"):
        return _records(path, list(_json_lines(path, text.removeprefix(MARK))))
    if suffix == ".json":
        return _records(path, list(_json_list(path, text.removeprefix(MARK))))
    made = read_csv(path, text.removeprefix(MARK), "\t" if suffix in (".tsv", ".tab") else None)
    at = {name: i for i, name in enumerate(made.header)}
    columns = Lazy(made.header, lambda name: [row[at[name]] for row in made.rows])
    written = Separated(made.delimiter, text.startswith(MARK))
    return Table(path.stem, columns, len(made.rows), lambda row: f"{path.name}:{made.lines[row]}", path.parent, made.remarks, written)


def _text(path: Path) -> str:
    with open_regular(path) as file:
        check_room(path, 2 * os.fstat(file.fileno()).st_size, byte_limit())  # the bytes and their text, before any row
        content = file.read()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16 text: save it as UTF-8.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise InputError(f"{path}, line {line}: it holds a byte that is not UTF-8; save the file as UTF-8.") from None


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise InputError(f"{path}, line {number}: not a JSON object ({problem}); expected one object a line.") from None
        if not isinstance(record, dict):
            raise InputError(f'{path}, line {number}: expected a JSON object such as {{"text": ..., "label": ...}}, found {line[:40]!r}.')
        yield number, record


def _json_list(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is not JSON ({problem}): expected a list of objects, or JSONL with one object a line.") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f'{path}: expected a list of objects such as {{"text": ..., "label": ...}}, found something else.')
    yield from enumerate(records)


def _records(path: Path, records: list[tuple[int, dict[str, Any]]]) -> Table:
    if not records:
        raise InputError(f"{path} is empty: expected one JSON object for each example.")
    names = dict.fromkeys(name for _, record in records for name in record)
    columns = Lazy(names, lambda name: [record.get(name) for _, record in records])
    lines = [number for number, _ in records]
    return Table(path.stem, columns, len(records), lambda row: f"{path.name}:{lines[row]}", path.parent)
