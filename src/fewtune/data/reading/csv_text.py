"""Separated values (CSV, TSV), with quoted fields, or with quotation marks that are ordinary letters."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of equal length below a header. `lines`: the line of the file on which each row begins, from 1. `remarks`: sentences on how they
    were read. `delimiter`: what is between the fields."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    remarks: tuple[str, ...] = ()
    delimiter: str = ","


@final
class _Trouble(Exception):  # noqa: N818  (never leaves this file)
    """Why a file cannot be read with quotes: `sentence`, and the line with the wrong quotation mark."""

    def __init__(self, sentence: str, line: int) -> None:
        super().__init__(sentence)
        self.sentence, self.line = sentence, line


def read_csv(path: Path, text: str, delimiter: str | None) -> Rows:
    """The rows of a text. The delimiter is by default a comma if the header holds one, else the more frequent of ; and tab.

    A quotation mark may open a field of several lines. If that hides lines which are rows themselves, or ends in an error, and every line
    has as many fields as the header when quotes are ignored, then the file does not use quotes: each line is a row, and a remark says so.
    Raises InputError with the line where something is wrong.
    """
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if delimiter is None:
        delimiter = max((",", ";", "\t"), key=first.count) if "," not in first else ","
    try:
        return _quoted(path, text, delimiter)
    except _Trouble as trouble:
        if (made := _unquoted(path, text, delimiter, trouble.line)) is not None:
            return made
        raise InputError(trouble.sentence) from None


def _quoted(path: Path, text: str, delimiter: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    long: list[tuple[int, int]] = []  # rows over several lines: (row, last line)
    width, start = 0, 1
    try:
        for row in reader:
            end = reader.line_num
            if width and len(row) == width:
                rows.append(row)
                lines.append(start)
                if end > start:
                    long.append((len(rows) - 1, end))
            elif row and not width:
                header, width = header_names(row, path), len(row)
            elif row:
                raise _Trouble(
                    f"{path}, line {start}: expected {width} fields as in the header, found {len(row)} "
                    "(put quotes around a field that holds a comma or a line break).",
                    start,
                )
            start = end + 1
    except csv.Error as problem:
        sentence = f"{path}, line {start}: {problem} (a quote that is never closed, or a field too long: JSONL has no such limits)."
        raise _Trouble(sentence, start) from None
    if not width:
        raise InputError(f"{path} is empty: expected a header line with column names.")
    made = Rows(header, rows, lines, delimiter=delimiter)
    if long:
        _refuse_swallowed(path, text, delimiter, made, long)
    return made


def header_names(row: list[str], path: Path) -> list[str]:
    """The names of columns; one without a name is "column 3". Raises InputError for a name that occurs twice."""
    names = [name.strip() for name in row]
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if twice:
        raise InputError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}: rename one.")
    return [name or f"column {i + 1}" for i, name in enumerate(names)]


def _lines(text: str) -> list[str]:
    """The lines, counted as the CSV reader counts them."""
    return [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]


def _refuse_swallowed(path: Path, text: str, delimiter: str, made: Rows, long: Sequence[tuple[int, int]]) -> None:
    """Raise _Trouble if lines inside a quoted field are rows themselves."""
    lines, several = _lines(text), {row for row, _ in long}
    known: dict[int, Counter[str]] = {}
    for row, end in long:
        start = made.lines[row]
        inside = [line.split(delimiter) for line in lines[start - 1 : end]]
        if len(made.header) < 2 or any(len(fields) != len(made.header) for fields in inside if fields != [""]):
            continue
        spanning = next((i for i, field in enumerate(made.rows[row]) if "\n" in field or "\r" in field), 0)
        for column in (i for i in range(len(made.header)) if i != spanning):
            if column not in known:
                known[column] = Counter(r[column].strip() for i, r in enumerate(made.rows) if i not in several)
            if _are_values([fields[column].strip() for fields in inside if fields != [""]], known[column]):
                raise _Trouble(
                    f"{path}, line {start}: a quotation mark opens a field that ends in line {end}, and the lines between are rows "
                    "themselves: remove the mark, or write it twice inside quotes.",
                    start,
                )


def _are_values(found: Sequence[str], known: Counter[str]) -> bool:
    """Whether the lines inside a field hold values of this column: at least half of them, not counting the last, must do so.

    A value counts if it occurs in other rows, or twice, or is a number like all others.
    """
    before, twice = found[:-1], Counter(found)
    numbers = bool(known) and all(_is_number(value) for value in known)
    right = sum(bool(value) and (value in known or twice[value] > 1 or (numbers and _is_number(value))) for value in before)
    return bool(before) and 2 * right >= len(before)


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).removeprefix("-").isdecimal()


def _unquoted(path: Path, text: str, delimiter: str, line: int) -> Rows | None:
    """Every line as a row, with quotation marks as letters; None if the lines differ in their number of fields."""
    numbered = [(number, fields.split(delimiter)) for number, fields in enumerate(_lines(text), start=1) if fields]
    width = len(numbered[0][1]) if numbered else 0
    if len(numbered) < 2 or any(len(fields) != width for _, fields in numbered):
        return None
    marks = f"{path.name} does not use quotes: the quotation mark in line {line} was read as a letter, and every line as a row."
    said = (marks,) if '"' in text else ()  # without any, a field was only too long for the CSV reader
    rows = [[_bare(field) for field in fields] for _, fields in numbered]
    return Rows(header_names(rows[0], path), rows[1:], [number for number, _ in numbered[1:]], said, delimiter)


def _bare(field: str) -> str:
    """A field without the quotes around it."""
    return field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field
