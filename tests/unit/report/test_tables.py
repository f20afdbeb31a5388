"""Tables: what is read back is what was put in, whatever users call their classes."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from fewtune.report.encoded import csv_text
from fewtune.report.tables import Cell, Table, render, to_csv, to_json, to_latex, to_markdown, to_records, to_terminal

HOSTILE = [
    "[bold]x[/bold]",
    ":smile:",
    "[link=http://a.b]c",
    "a|b",
    "**a**",
    "_b_",
    "`c`",
    "<script>",
    "&lt;",
    "~~d~~",
    "\\",
    "$x$",
    "a & b",
    "#1",
]
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def sample() -> Table:
    rows = [
        ["ridge(penalty=10)", Cell(0.8234, "82.3 ± 1.0", best=True), (0.81, 0.83), 600],
        ["centroid", Cell(0.7, "70.0 ± 1.2"), (0.6, math.nan), 600],
        ["none", None, None, None],
    ]
    return Table.of(["method", "accuracy", "95% interval", "n"], rows, "Five ways", ["Marked: best."], ["method", "mean", "interval", "n"])


def test_terminal_without_color() -> None:
    assert to_terminal(sample()).split("\n") == [
        "Five ways",
        "method                accuracy    95% interval     n",
        "─" * 52,
        "ridge(penalty=10)   82.3 ± 1.0*   0.81 to 0.83   600",
        "centroid            70.0 ± 1.2        0.6 to ?   600",
        "none",
        "Marked: best.",
    ]


def test_terminal_with_color_is_bold_and_unmarked() -> None:
    shown = to_terminal(sample(), color=True)
    assert "\x1b[1m 82.3 ± 1.0" in shown or "\x1b[1m82.3 ± 1.0\x1b[0m" in shown
    assert "*" not in shown and "\x1b" not in to_terminal(sample())


@pytest.mark.parametrize("name", HOSTILE)
def test_terminal_shows_names_as_they_are(name: str) -> None:
    assert to_terminal(Table.of([name], [[name]])).split("\n")[::2] == [name, name]


def test_terminal_names_cannot_move_the_cursor() -> None:
    shown = to_terminal(Table.of(["a\x1b[2J"], [["b\rc\nd\u202ee\x00\x9b"]], "\x1b]0;t\x07"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "b c d" in shown


@given(st.lists(st.tuples(ANYTHING, st.floats(-1, 1), st.floats(0, 1)), max_size=5), st.integers(1, 120), st.booleans())
@settings(max_examples=60, deadline=None)
def test_terminal_fits_its_width_and_loses_no_digit(rows: list[tuple[str, float, float]], width: int, best: bool) -> None:
    table = Table.of(["name", "value", "p"], [[name, Cell(v, f"{v:.4f}", best=best), p] for name, v, p in rows])
    for limit in (None, width):
        lines = to_terminal(table, width=limit).split("\n")
        needed = max([len("value"), *(len(f"{v:.4f}") + best for _, v, _ in rows)]) + max([1, *(len(f"{p:.4g}") for _, _, p in rows)])
        assert max(map(cell_len, lines)) <= max(width if limit else 10_000, 12 + needed + 6)
        for _, v, p in rows:
            assert any(f"{v:.4f}" in line and f"{p:.4g}" in line for line in lines)


def test_terminal_folds_text_before_numbers() -> None:
    shown = to_terminal(Table.of(["path", "accuracy"], [["x" * 20, Cell(0.5, "50.00 +- 1.25 (48.75 to 51.25)")]]), width=44)
    assert "50.00 +- 1.25 (48.75 to 51.25)" in shown and max(map(len, shown.split("\n"))) == 45


def test_terminal_aligns_wide_characters() -> None:
    lines = to_terminal(Table.of(["class", "n"], [["日本語", 1], ["abc", 2], ["é", 3]])).split("\n")
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}


def test_terminal_is_no_wider_than_needed() -> None:
    assert max(map(len, to_terminal(Table.of(["a", "b"], [["x", 1]]), width=200).split("\n"))) == 5


def test_terminal_folds_notes_and_long_text() -> None:
    table = Table.of(["path", "n"], [["x" * 100, 1]], notes=["word " * 30])
    lines = to_terminal(table, width=40).split("\n")
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 100


@pytest.mark.parametrize("format", ["table", "json", "csv", "latex", "markdown"])
def test_every_format_of_an_empty_table(format: str) -> None:
    text = render(Table.of(["a", "b"], []), format)  # type: ignore[arg-type]
    assert text and not text.endswith("\n")


def markdown_cells(text: str) -> list[list[str]]:
    """What a Markdown reader shows of a table: the plain text of each cell (of code, links or raw HTML, nothing)."""
    cells: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "tr_open":
            cells.append([])
        if token.type == "inline" and cells:
            cells[-1].append("".join(child.content for child in token.children or [] if child.type == "text"))
    return cells


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(ANYTHING, st.sampled_from(HOSTILE)), min_size=2, max_size=2), st.booleans())
def test_markdown_shows_names_as_they_are(names: list[str], best: bool) -> None:
    text = to_markdown(Table.of(["a", "b"], [[Cell(name, best=best) for name in names], ["-", "+"]]))
    shown = [[re.sub(r"\s+", " ", c).strip() for c in row] for row in markdown_cells(text)]
    plain = [re.sub(r"\s+", " ", CONTROLS.sub("�", name)).strip() for name in names]
    assert shown == [["a", "b"], plain, ["-", "+"]]


def test_markdown_layout() -> None:
    assert to_markdown(sample()).split("\n") == [
        "Five ways",
        "",
        "| method            |       accuracy | 95% interval |   n |",
        "| ----------------- | -------------: | -----------: | --: |",
        "| ridge(penalty=10) | **82.3 ± 1.0** | 0.81 to 0.83 | 600 |",
        "| centroid          |     70.0 ± 1.2 |     0.6 to ? | 600 |",
        "| none              |                |              |     |",
        "",
        "Marked: best.",
    ]


def test_latex_layout() -> None:
    assert to_latex(sample()) == "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\caption{Five ways}",
            r"\begin{tabular}{lrrr}",
            r"\toprule",
            r"method & accuracy & 95\% interval & n \\",
            r"\midrule",
            r"ridge(penalty=10) & \textbf{82.3 $\pm$ 1.0} & 0.81 to 0.83 & 600 \\",
            r"centroid & 70.0 $\pm$ 1.2 & 0.6 to ? & 600 \\",
            r"none &  &  &  \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip{\footnotesize Marked: best.\par}",
            r"\end{table}",
        ]
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_b", r"a\_b"),
        ("50% & $1 #2 {x}", r"50\% \& \$1 \#2 \{x\}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("x^2~y", r"x\textasciicircum{}2\textasciitilde{}y"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("[2em]", "{[}2em{]}"),
        ("*", "{*}"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("\"`'", r"\char34{}\textasciigrave{}\textquotesingle{}"),
        ("\u00b1\u2212\u00d7\u2264\u2265", r"$\pm$$-$$\times$$\leq$$\geq$"),
        ("a\nb\x00", "a b?"),
    ],
)
def test_latex_escapes(name: str, expected: str) -> None:
    assert f"{expected} \\\\" in to_latex(Table.of(["x"], [[name]])).split("\n")


def test_csv_holds_raw_values() -> None:
    table = Table.of(
        ["a", "b", "c", "d", "e"],
        [[0.1 + 0.2, Cell(-0.5, "-50%", best=True), math.nan, (0.1, 0.2), True], [None, -3, math.inf, None, "x,y"]],
    )
    assert to_csv(table) == 'a,b,c,d,e\n0.30000000000000004,-0.5,,0.1 0.2,True\n,-3,,,"x,y"'


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", " =1", "\uff1d1", "\ufe631", "\n=1"])
def test_csv_neutralises_formulas(name: str) -> None:
    assert csv_text(name) == "'" + name
    rows = list(csv.reader(io.StringIO(to_csv(Table.of([name], [[name]])), newline="")))
    assert rows == [["'" + name], ["'" + name]]


@given(ANYTHING.filter(lambda t: "\0" not in t))
def test_csv_reads_back(name: str) -> None:
    text = to_csv(Table.of(["a", "b"], [[name, 1]]))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], [csv_text(name), "1"]]
    assert csv_text(name) in (name, "'" + name)
    assert csv_text("photo.jpg") == "photo.jpg" and csv_text("") == ""


def test_json_holds_raw_values() -> None:
    rows = json.loads(to_json(sample()))
    assert rows[0] == {"method": "ridge(penalty=10)", "mean": 0.8234, "interval": [0.81, 0.83], "n": 600}
    assert rows[1]["interval"] == [0.6, None] and rows[2]["mean"] is None
    assert list(rows[0]) == ["method", "mean", "interval", "n"]
    assert to_records(sample()) == rows


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), min_size=1, max_size=6))
def test_json_reads_back(values: list[object]) -> None:
    expected = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    assert [row["v"] for row in json.loads(to_json(Table.of(["v"], [[v] for v in values])))] == expected  # type: ignore[list-item]


def test_file_names_that_are_no_text_can_be_printed() -> None:
    table = Table.of(["input"], [["a\udcff.jpg"]])
    for format in ("table", "json", "csv", "latex", "markdown"):
        render(table, format).encode()
    assert json.loads(to_json(table)) == [{"input": "a\udcff.jpg"}]


def test_numpy_scalars_become_numbers() -> None:
    table = Table.of(["a", "b", "c", "d"], [[np.float64(0.5), np.int64(3), np.bool_(True), (np.float32(0.25), np.float64(1))]])
    assert [type(cell.value) for cell in table.rows[0]] == [float, int, bool, tuple]
    assert to_csv(table).split("\n")[1] == "0.5,3,True,0.25 1.0"
    assert json.loads(to_json(table)) == [{"a": 0.5, "b": 3, "c": True, "d": [0.25, 1.0]}]


def test_cells_by_default() -> None:
    shown = [Cell(v).shown for v in (0.123456, 12, "x", True, None, math.nan, (0.1, 0.25), (math.nan, math.nan))]
    assert shown == ["0.1235", "12", "x", "True", "", "", "0.1 to 0.25", ""]
    assert Cell(None, "too few").shown == "too few"


def test_refuses() -> None:
    with pytest.raises(ValueError, match="expected 2 cells in each row, found 1 in row 1"):
        Table.of(["a", "b"], [[1, 2], [1]])
    with pytest.raises(ValueError, match="do not repeat"):
        Table.of(["a", "a"], [])
    assert to_csv(Table.of(["a", "a"], [[1, 2]], keys=["x", "y"])) == "x,y\n1,2"
    with pytest.raises(ValueError, match="a key for each of 2 columns, found 1"):
        Table.of(["a", "b"], [], keys=["x"])
    with pytest.raises(ValueError, match="found 'yaml'"):
        render(sample(), "yaml")  # type: ignore[arg-type]


def test_rich_is_imported_only_when_needed() -> None:
    code = "import sys; from fewtune.report.tables import Table, to_json; to_json(Table.of(['a'], [[1]])); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
