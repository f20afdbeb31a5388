"""Excel sheets (.xlsx, .xlsm): a sheet becomes the columns that the same data would have as CSV, and columns become a sheet. The only file
that imports openpyxl.

A workbook is a zip archive of XML files and may be hostile. What it would unpack to is checked before anything is unpacked. Macros,
pictures and links to other files are never looked at. The values that the spreadsheet program calculated are read, not the formulas.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

from fewtune.data.reading.csv_text import header_names
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular
from fewtune.words import counted, harmless

EXCEL_SUFFIXES = frozenset({".xlsx", ".xlsm"})
OTHER_SHEETS = frozenset({".xls", ".xlsb", ".ods"})  # sheets that are not read
INSTALL = "pip install 'fewtune[excel]'"
MOST_ROWS, MOST_COLUMNS, MOST_LETTERS = 1_048_576, 16_384, 32_767
"""What a sheet of Excel can hold: rows with the header, columns, letters in a cell."""

_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA", "#SPILL!", "#CALC!"})
_BATCH = 256  # rows between two checks of the memory
_REFERENCE, _ROW, _LETTER = 8, 120, 2  # bytes in memory, roughly
_MOST_PARTS = 10_000
_OLD = b"\xd0\xcf\x11\xe0"  # how old .xls files begin, and new ones with a password

Row: TypeAlias = tuple[Any, ...]


def read_excel(path: Path) -> Table:
    """The first visible sheet of a workbook as a table. Its first row that is not empty names the columns; empty rows are left out.

    Values are texts, as in a CSV file: numbers as Excel shows them (15 digits), dates as 2026-11-29, or 2026-11-29 14:30:00 if they have a
    time, TRUE and FALSE, "" for an empty cell. A cell with an error such as #N/A is empty, and a remark says so. Raises InputError if
    openpyxl is missing, for a file that is no workbook, for one that would take too much memory, and for a formula that was never
    calculated.
    """
    openpyxl = _library(path)
    with open_regular(path) as file, _naming(path):
        _check_archive(path, file)
        with _opened(openpyxl, file, values=True) as book:
            sheet, remarks = _first_sheet(path, book)
            rows, lines = _rows(path, sheet)
        if not rows:
            raise InputError(f"{path} is empty: expected a first row with column names.")
        width = max(map(len, rows))
        if any(len(row) < width or None in row for row in rows):
            _refuse_uncalculated(path, openpyxl, file)
    names = header_names([_text(value) for value in _padded(rows[0], width)], path)
    at = {name: i for i, name in enumerate(names)}
    body, numbers = rows[1:], lines[1:]
    columns = Lazy(names, lambda name: [_text(row[at[name]]) if at[name] < len(row) else "" for row in body])
    remarks += _errors(path, body, numbers)
    return Table(path.stem, columns, len(body), lambda row: f"{path.name}:{numbers[row]}", path.parent, remarks)


def excel_bytes(header: Sequence[str], rows: Iterable[Sequence[object]], *, name: str = "the table") -> bytes:
    """A workbook with one sheet: a header row, then rows of texts, numbers, booleans, dates and None (an empty cell).

    A text stays a text: one that begins with "=" is not a formula. A letter that a workbook cannot hold becomes U+FFFD; NaN and infinity
    are empty cells. Raises InputError if openpyxl is missing, and for more rows, columns or letters in a cell than Excel can hold.
    """
    openpyxl = _library(Path(name))
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{name} has {len(header):,} columns, and a sheet holds at most {MOST_COLUMNS:,}: write csv or parquet instead.")
    cells = [[_plain(value, name) for value in row] for row in (header, *rows)]
    if len(cells) > MOST_ROWS:
        raise InputError(f"{name} has {len(cells) - 1:,} rows, and a sheet holds at most {MOST_ROWS - 1:,}: write csv or parquet instead.")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.freeze_panes = "A2"
    for row in cells:
        sheet.append([_cell(openpyxl, sheet, value) for value in row])
    with io.BytesIO() as made:
        book.save(made)
        return made.getvalue()


def _library(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as problem:
        raise InputError(f"{path.name}: Excel files need openpyxl: {INSTALL} ({problem}).") from None
    return openpyxl


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn every failure inside into one InputError: zipfile and the XML readers raise almost every kind of exception on hostile bytes."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as problem:
        said = " ".join(str(problem).split())[:200].rstrip(".") or type(problem).__name__
        raise InputError(f"{path} cannot be read as an Excel workbook ({said}): save it again as .xlsx or as CSV.") from None


def _check_archive(path: Path, file: BufferedReader) -> None:
    """Raise InputError unless this is a workbook whose parts fit into memory. Python unpacks no more of a part than it declares."""
    start = file.read(4)
    if start == _OLD:
        raise InputError(f"{path} has a password or is an old Excel file: save it as .xlsx without a password.")
    if start != b"PK\x03\x04":
        raise InputError(f"{path} is not an Excel workbook: save it as .xlsx, or rename it if it is text.")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        if len(parts) > _MOST_PARTS:
            raise InputError(f"{path} holds {len(parts):,} parts, more than the limit of {_MOST_PARTS:,}: it is no ordinary workbook.")
        check_room(path, 2 * sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels"))), byte_limit())
    file.seek(0)


@contextlib.contextmanager
def _opened(openpyxl: Any, file: BufferedReader, *, values: bool) -> Iterator[Any]:
    """A workbook whose rows are read one by one; with the calculated `values`, or with formulas."""
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on styles, forms and dates of the workbook
        book = openpyxl.load_workbook(file, read_only=True, data_only=values, keep_vba=False, keep_links=False)
        try:
            yield book
        finally:
            book.close()


def _first_sheet(path: Path, book: Any) -> tuple[Any, tuple[str, ...]]:
    """The first sheet that is not hidden, and a remark if there are others."""
    shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
    if not shown:
        raise InputError(f"{path} holds no sheet with cells: expected a first row with column names.")
    if len(shown) == 1:
        return shown[0], ()
    others = ", ".join(sheet.title for sheet in shown[1:4]) + (" and more" if len(shown) > 4 else "")
    return shown[0], (f"{path.name}: the first sheet, {shown[0].title}, was read; not read: {others}.",)


def _rows(path: Path, sheet: Any) -> tuple[list[Row], list[int]]:
    """The rows that are not empty, without empty cells at their end, and the number of each in the sheet."""
    sheet.reset_dimensions()  # what the file declares can be wrong, and would cut off columns
    rows: list[Row] = []
    lines: list[int] = []
    taken, limit = 0, byte_limit()
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        taken += _REFERENCE * len(row)
        if number % _BATCH == 0:
            check_room(path, taken, limit)
        kept = _trimmed(row)
        if kept:
            taken += _ROW + _LETTER * sum(len(value) for value in kept if isinstance(value, str))
            rows.append(kept)
            lines.append(number)
    check_room(path, taken, limit)
    return rows, lines


def _trimmed(row: Row) -> Row:
    if row.count(None) == len(row):
        return ()
    end = len(row)
    while row[end - 1] is None:
        end -= 1
    return row[:end]


def _padded(row: Row, width: int) -> Row:
    return (*row, *([None] * (width - len(row))))


def _refuse_uncalculated(path: Path, openpyxl: Any, file: BufferedReader) -> None:
    """Raise InputError for a formula without a value: a program wrote it, and no spreadsheet program has calculated it since.

    A formula whose value is an empty text has a type, "str".
    """
    with _opened(openpyxl, file, values=True) as values, _opened(openpyxl, file, values=False) as formulas:
        sheets = [_first_sheet(path, book)[0] for book in (values, formulas)]
        for sheet in sheets:
            sheet.reset_dimensions()
        for there, written in zip(*(sheet.iter_rows() for sheet in sheets), strict=True):
            for value, formula in zip(there, written, strict=True):
                if formula.data_type == "f" and value.value is None and value.data_type != "str":
                    raise InputError(
                        f"{path}, cell {formula.coordinate}: the formula {str(formula.value)[:40]!r} was never calculated: open the file "
                        "in a spreadsheet program, save it there and try again."
                    )


def _errors(path: Path, rows: Sequence[Row], lines: Sequence[int]) -> tuple[str, ...]:
    """A remark on cells that hold an error."""
    found = [(line, value) for row, line in zip(rows, lines, strict=True) for value in row if isinstance(value, str) and value in _ERRORS]
    if not found:
        return ()
    return (f"{path.name}: {counted(len(found), 'cell')} with an error such as {found[0][1]} (row {found[0][0]}) counted as empty.",)


def _text(value: Any) -> str:
    """A value of a cell as a CSV file would hold it."""
    if value is None or (isinstance(value, str) and value in _ERRORS):
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="seconds") if value.time() != datetime.time() else value.date().isoformat()
    return str(value)


def _plain(value: object, name: str) -> object:
    """A value that a cell can hold."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, str):
        return value
    if len(value) > MOST_LETTERS:
        raise InputError(
            f"{name}: a text of {len(value):,} letters is longer than a cell of Excel can be ({MOST_LETTERS:,}): write csv or parquet."
        )
    return "".join(letter if letter in "\t\n\r" or harmless(letter) else "\ufffd" for letter in value)


def _cell(openpyxl: Any, sheet: Any, value: object) -> Any:
    """The cell of a new sheet. A text that begins with "=" must not run."""
    made = openpyxl.cell.WriteOnlyCell(sheet, value=value)
    if isinstance(value, str):
        made.data_type = "s"
    return made
