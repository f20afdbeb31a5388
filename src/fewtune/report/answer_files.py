"""Answers in a file: CSV, TSV, JSONL, JSON, Parquet or Excel, by its suffix. Checked before any work, and written whole or not at all."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fewtune.data.excel import excel_bytes
from fewtune.data.reading.table_files import MARK
from fewtune.errors import InputError
from fewtune.files import refuse_closed, write_bytes
from fewtune.report.answers import AnswerTable, as_cell
from fewtune.report.encoded import csv_lines, encodable

ANOTHER = "choose another --out"


@final
@dataclass(frozen=True)
class AnswerFile:
    """Where answers go. `overwrite`: whether a file that is there is replaced."""

    path: Path
    overwrite: bool = False

    def check(self, inputs: Iterable[Path]) -> None:
        """Raise InputError if fewtune cannot write this kind of file, if the file exists, or if it is one of the inputs."""
        if self.path.suffix.lower() not in (*WRITERS, ".xlsx"):
            raise InputError(f"{self.path} is not a kind of table that is written: expected {', '.join(WRITERS)} or .xlsx.")
        _check_place(self.path, inputs, ANOTHER, overwrite=self.overwrite)
        if self.path.suffix.lower() == ".xlsx":
            excel_bytes(("label",), (), name=str(self.path))  # raises where openpyxl is missing

    def write(self, table: AnswerTable) -> None:
        """Write the table. Raises InputError if another program has made the file in the meantime, or if this kind of file cannot hold a
        value.
        """
        try:
            write_bytes(self.path, self._content(table), new=not self.overwrite)
        except FileExistsError:
            raise InputError(f"another program made {self.path} in the meantime: {ANOTHER}.") from None

    def _content(self, table: AnswerTable) -> bytes:
        suffix = self.path.suffix.lower()
        return excel_bytes(table.names, _rows(table), name=str(self.path)) if suffix == ".xlsx" else WRITERS[suffix](table)


def check_page(path: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Raise InputError for a page, --report, that cannot be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a report is a page, so expected a name such as {path.with_suffix('.html').name}.")
    _check_place(path, inputs, "choose another --report", overwrite=overwrite)


def _check_place(path: Path, inputs: Iterable[Path], todo: str, *, overwrite: bool) -> None:
    """Raise InputError for a folder, a device, a file that exists (unless `overwrite`), one of the inputs, and a closed folder."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: {todo}, such as {path / 'answers.csv'}.")
    if os.path.lexists(path):
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a plain file (a pipe or a device): {todo}.")
        if any(_same(path, given) for given in inputs):
            raise InputError(f"{path} is one of the inputs: {todo}.")
        if not overwrite:
            raise InputError(f"{path} exists already: {todo}, or replace it with --overwrite.")
    refuse_closed(path, todo)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def csv_text_of(table: AnswerTable, delimiter: str = ",") -> str:
    """The table as separated values. Texts that a spreadsheet would run get a quote before them (see `encoded.csv_text`), but the cells of
    a table that was separated values itself go back as they came."""
    exact = range(table.own) if table.exact else ()
    return csv_lines([table.names, *_rows(table)], exact=exact, delimiter=delimiter)


def _rows(table: AnswerTable) -> Iterable[list[Any]]:
    """Rows of cells; a probability has six digits."""
    for row in zip(*table.columns, strict=True):
        yield [_short(as_cell(v)) if place >= table.own else as_cell(v) for place, v in enumerate(row)]


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _csv(table: AnswerTable) -> bytes:
    return f"{MARK if table.separated.mark else ''}{csv_text_of(table, table.separated.delimiter)}\n".encode()


def _tsv(table: AnswerTable) -> bytes:
    return (csv_text_of(table, "\t") + "\n").encode()


def _json_lines(table: AnswerTable) -> bytes:
    return "".join(json_line(record) for record in records(table)).encode()


def json_line(record: Mapping[str, Any]) -> str:
    """One object on one line. Bytes of a file name that are no UTF-8 are lone surrogates, and are escaped as such."""
    return encodable(json.dumps(record, ensure_ascii=False, allow_nan=False)) + "\n"


def _json_list(table: AnswerTable) -> bytes:
    return encodable(json.dumps(list(records(table)), ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def records(table: AnswerTable) -> Iterable[dict[str, Any]]:
    """The rows as mappings of plain values."""
    for row in zip(*table.columns, strict=True):
        yield dict(zip(table.names, row, strict=True))


def _parquet(table: AnswerTable) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: Sequence[Any]) -> Any:
        values = [encodable(v) if isinstance(v, str) else v for v in values]
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):  # values of several kinds
            return pa.array([v if v is None or isinstance(v, str) else str(as_cell(v)) for v in values], type=pa.string())

    made = pa.table({encodable(name): column(values) for name, values in zip(table.names, table.columns, strict=True)})
    out = io.BytesIO()
    pq.write_table(made, out)
    return out.getvalue()


WRITERS: Mapping[str, Callable[[AnswerTable], bytes]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".parquet": _parquet,
}
