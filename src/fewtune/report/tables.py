"""A table as a value, written for a terminal, for Markdown, LaTeX and CSV, and for programs (JSON).

Names of classes, files and methods come from users: every format escapes them, so that they stay the text that they are.
No text ends with a newline, so that `print` writes exactly one.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from fewtune.report.encoded import csv_lines, json_text
from fewtune.words import one_line

Value: TypeAlias = str | int | float | bool | tuple[float, ...] | None
Format: TypeAlias = Literal["table", "json", "csv", "latex", "markdown"]


@final
@dataclass(frozen=True)
class Cell:
    """A raw `value` for programs, the `text` people see (made from the value by default), and whether it is marked as a winner (`best`).

    A value is text, a number, a truth, several numbers (an interval) or None (unknown, shown as an empty cell).
    """

    value: Value
    text: str | None = None
    best: bool = False

    def __post_init__(self) -> None:
        numbers = tuple(map(_plain, self.value)) if isinstance(self.value, tuple) else _plain(self.value)
        object.__setattr__(self, "value", numbers)

    @property
    def shown(self) -> str:
        """What people see. By default four significant digits of a float; NaN and None show nothing."""
        if self.text is not None:
            return self.text
        if isinstance(self.value, tuple):
            return "" if all(map(_unknown, self.value)) else " to ".join(Cell(number).shown or "?" for number in self.value)
        if self.value is None or _unknown(self.value):
            return ""
        return f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)


@final
@dataclass(frozen=True)
class Table:
    """Rows of cells under `columns`, with a `caption` above and `notes` below (a sentence each).

    `keys` name the columns in JSON and CSV, where people's headings are too long for programs; by default the columns themselves.
    Columns that hold numbers are aligned to the right. Raises ValueError for rows of another width and for keys that repeat.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [i for i, row in enumerate(self.rows) if len(row) != len(self.columns)]
        if wrong:
            found = len(self.rows[wrong[0]])
            raise ValueError(f"expected {len(self.columns)} cells in each row, found {found} in row {wrong[0]}.")
        if self.keys and len(self.keys) != len(self.columns):
            raise ValueError(f"expected a key for each of {len(self.columns)} columns, found {len(self.keys)}.")
        if len(set(self.names)) != len(self.columns):
            raise ValueError(f"expected keys that do not repeat, found {self.names}: give the table `keys`.")

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell | Value]],
        caption: str = "",
        notes: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> Table:
        """A table from lists, where plain values stand for cells."""
        made = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
        return cls(tuple(columns), made, caption, tuple(notes), tuple(keys))

    @property
    def names(self) -> tuple[str, ...]:
        """What JSON and CSV call the columns."""
        return self.keys or self.columns

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers (and nothing else but unknowns)."""
        held = [[row[i].value for row in self.rows if row[i].value is not None] for i in range(len(self.columns))]
        return tuple(bool(values) and not any(isinstance(v, str | bool) for v in values) for values in held)


def render(table: Table, format: Format, *, width: int | None = None, color: bool = False) -> str:
    """The table in a format by its name; `width` and `color` are for "table" (see `to_terminal`)."""
    if format == "table":
        return to_terminal(table, width=width, color=color)
    writers: dict[str, Callable[[Table], str]] = {"json": to_json, "csv": to_csv, "latex": to_latex, "markdown": to_markdown}
    if format not in writers:
        raise ValueError(f"expected the format table, {', '.join(writers)}, found {format!r}.")
    return writers[format](table)


def to_terminal(table: Table, *, width: int | None = None, color: bool = False) -> str:
    """For reading: as wide as the cells need, and at most `width` columns (None = no limit), where long text is folded, numbers never.

    (Where even 12 columns for each text and the whole numbers do not fit, the table is wider than `width`: no digit is lost.)

    A winner is bold with `color` (ANSI codes; pass it only for a terminal) and marked `*` without.
    """
    import rich.box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    columns = [_terminal_column(table, i, color) for i in range(len(table.columns))]
    for column, right in zip(columns, table.numeric, strict=True):
        grid.add_column(Text(column[0]), justify="right" if right else "left", overflow="fold", no_wrap=right)
    for r, row in enumerate(table.rows):
        grid.add_row(*(Text(column[r + 1], style="bold" if cell.best else "") for column, cell in zip(columns, row, strict=True)))
    allowed = 10_000 if width is None else max(width, _narrowest(columns, table.numeric))
    console = Console(
        file=io.StringIO(),
        width=allowed,
        force_terminal=color,
        force_jupyter=False,
        color_system="standard" if color else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(grid)
    body = "\n".join(line.rstrip() for line in captured.get().replace("\u2800", " ").splitlines())
    parts = [*_wrapped([table.caption], width), body.rstrip("\n"), *_wrapped(table.notes, width)]
    return "\n".join(part for part in parts if part)


def _terminal_column(table: Table, i: int, color: bool) -> list[str]:
    """Heading and cells of a column; without color its winners end in `*`, and where it holds numbers the others in a space."""
    marked = not color and any(row[i].best for row in table.rows)
    other = "\u2800" if marked and table.numeric[i] else ""  # a blank that is not removed at the end of a line, as a space would be
    return [one_line(table.columns[i]) + other] + [
        one_line(row[i].shown) + ("*" if marked and row[i].best else other) for row in table.rows
    ]


def _narrowest(columns: Sequence[Sequence[str]], numeric: Sequence[bool]) -> int:
    """The width below which numbers would be cut: theirs, 12 for each column of text, 3 between columns."""
    from rich.cells import cell_len

    needed = [max(map(cell_len, column)) for column in columns]
    return sum(n if right else min(n, 12) for n, right in zip(needed, numeric, strict=True)) + 3 * (len(columns) - 1)


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, aligned in the source as well; winners are bold."""
    from rich.cells import cell_len

    grid = [[_markdown(name) for name in table.columns]]
    grid += [[f"**{_markdown(c.shown)}**" if c.best and c.shown.strip() else _markdown(c.shown) for c in row] for row in table.rows]
    widths = [max(3, *(cell_len(line[i]) for line in grid)) for i in range(len(table.columns))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, wide, right in zip(cells, widths, table.numeric, strict=True):
            space = " " * (wide - cell_len(cell))
            padded.append(space + cell if right else cell + space)
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (wide - 1) + ":" if right else "-" * wide for wide, right in zip(widths, table.numeric, strict=True)]
    body = "\n".join([line(grid[0]), line(rule), *(line(cells) for cells in grid[1:])])
    return "\n\n".join(part for part in [_markdown(table.caption), body, *map(_markdown, table.notes)] if part)


def to_latex(table: Table) -> str:
    r"""A `table` environment that needs `\usepackage{booktabs}`; winners are bold, the caption is above, notes are below."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    def shown(cell: Cell) -> str:
        return rf"\textbf{{{latex_text(cell.shown)}}}" if cell.best and cell.shown else latex_text(cell.shown)

    lines = [r"\begin{table}", r"\centering"]
    if table.caption:
        lines.append(rf"\caption{{{latex_text(table.caption)}}}")
    lines += [rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in table.numeric)}}}", r"\toprule"]
    lines += [line([latex_text(name) for name in table.columns]), r"\midrule"]
    lines += [line([shown(cell) for cell in row]) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize {latex_text(note)}\par}}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def to_csv(table: Table) -> str:
    """Raw values in full precision under the keys, without caption, notes and marks; unknown is an empty cell, an interval `low high`.

    Text that a spreadsheet would run as a formula is neutralised (see `fewtune.report.encoded.csv_text`).
    """
    return csv_lines([table.names, *([_csv(cell.value) for cell in row] for row in table.rows)])


def to_json(table: Table) -> str:
    """A list of objects from key to raw value, in the order of the columns; NaN and infinity are null."""
    return json_text(to_records(table))


def to_records(table: Table) -> list[dict[str, object]]:
    """The rows as dictionaries of raw values that JSON can hold (NaN and infinity are None, an interval is a list)."""

    def plain(value: Value) -> object:
        if isinstance(value, tuple):
            return [plain(number) for number in value]
        return None if _unknown(value) else value

    return [{name: plain(cell.value) for name, cell in zip(table.names, row, strict=True)} for row in table.rows]


def _csv(value: Value) -> str | int | float:
    if isinstance(value, tuple):
        return "" if all(map(_unknown, value)) else " ".join(map(repr, value))
    return "" if value is None or _unknown(value) else value


def _plain(value: Any) -> Any:
    """A Python number for a NumPy or torch scalar (without importing either)."""
    return value.item() if hasattr(value, "item") else value


def _unknown(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _wrapped(sentences: Sequence[str], width: int | None) -> list[str]:
    return [textwrap.fill(one_line(s), width or 100, break_on_hyphens=False) for s in sentences]


def _markdown(text: str) -> str:
    # Spaces at the ends mean nothing in a cell, and `**x **` would not be bold.
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", one_line(text).strip())


_NAMED = ("asciitilde", "asciicircum", "less", "greater", "bar", "asciigrave", "quotesingle")
_LATEX = {
    "\\": r"\textbackslash{}",
    '"': r"\char34{}",  # \textquotedbl is not in every encoding, and babel gives a bare quote other meanings
    **{c: "\\" + c for c in "{}$&#%_"},
    **{c: rf"\text{name}{{}}" for c, name in zip("~^<>|`'", _NAMED, strict=True)},
    **{c: f"{{{c}}}" for c in "[]*"},  # after the end of a row, [ and * would be read as its options
    **{c: f"${sign}$" for c, sign in zip("\u00b1\u2212\u00d7\u2264\u2265", (r"\pm", "-", r"\times", r"\leq", r"\geq"), strict=True)},
    "\ufffd": "?",
}


def latex_text(text: str) -> str:
    """Text as LaTeX that shows it as it is, on one line."""
    escaped = "".join(_LATEX.get(c, c) for c in one_line(text))
    return re.sub(r"-(?=-)", "-{}", escaped)  # two hyphens are no dash
