"""Text from users in formats for programs: CSV without formulas that a spreadsheet would run, JSON without control characters."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Container, Iterable

from fewtune.words import harmless

Plain = str | int | float


def csv_text(text: str) -> str:
    """Text that a spreadsheet shows instead of running: a quote goes before a leading = + - @ (wide forms too), tab or line end.

    Reference: OWASP, "CSV injection".
    """
    dangerous = unicodedata.normalize("NFKC", text.lstrip(" "))[:1] in tuple("=+-@\t\r\n")
    return "'" + text if dangerous else text


def csv_lines(rows: Iterable[Iterable[Plain | None]], *, exact: Container[int] = (), delimiter: str = ",") -> str:
    """Rows of CSV without a last line end. Every cell of text goes through `csv_text`, but those of the columns `exact`, by their places;
    numbers stay numbers, None is an empty cell."""
    return encodable("\n".join(_line([_cell(cell, place in exact) for place, cell in enumerate(row)], delimiter) for row in rows))


def _cell(cell: Plain | None, exact: bool) -> Plain | None:
    return csv_text(cell) if isinstance(cell, str) and not exact else cell


def _line(cells: list[Plain | None], delimiter: str) -> str:
    # The writer quotes what its own line end contains: with "\n" it would leave a bare "\r", which readers take for a new row.
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n")


def json_text(value: object) -> str:
    """Indented JSON in which names read as they are, except for what would move a cursor or turn text: that is escaped (\\u009b).

    A reader gets the very same strings. Raises ValueError for NaN and infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return "".join(c if c == "\n" or harmless(c) else f"\\u{ord(c):04x}" for c in text)


def encodable(text: str) -> str:
    """Lone surrogates (bytes of a file name that are no UTF-8) as `\\udcff`, so that printing cannot fail."""
    return text.encode("utf-8", "backslashreplace").decode()
