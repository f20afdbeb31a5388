"""Quotation marks in separated values: fields that span lines are kept, and no line is lost to a stray mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.data.examples import Examples
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked, read_examples
from fewtune.errors import InputError

SAID = "t{suffix} does not use quotes: the quotation mark in line {line} was read as a letter, and every line as a row."


def written(tmp_path: Path, rows: list[tuple[str, ...]], suffix: str, header: tuple[str, ...] = ("text", "label")) -> Examples:
    separator = "\t" if suffix == ".tsv" else ","
    path = tmp_path / f"t{suffix}"
    path.write_bytes("\r\n".join(separator.join(row) for row in [header, *rows]).encode())
    return read_asked(path, Asked(labelled="label" in header))


def plain_rows(count: int = 20) -> list[tuple[str, ...]]:
    return [(f"sentence number {i}", "ab"[i % 2]) for i in range(count)]


def texts(made: Examples) -> list[str]:
    return [str(made.items.fetch(row)) for row in range(len(made))]


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
@pytest.mark.parametrize(("first", "last"), [('"He said so', 'and left again"'), ('"He said so', '"and left again'), ('"He" said so', "x")])
def test_a_stray_mark_swallows_no_row(tmp_path: Path, suffix: str, first: str, last: str) -> None:
    rows = plain_rows()
    rows[3], rows[11] = (first, "b"), (last, "b")
    made = written(tmp_path, rows, suffix)
    assert texts(made) == [text for text, _ in rows]
    assert [made.class_names[k] for k in made.labels] == [label for _, label in rows]
    assert made.row_names[4] == f"t{suffix}:6"
    assert len(made.remarks) == 1 and made.remarks[0] == SAID.format(suffix=suffix, line=13 if first == last else 5)


def test_a_mark_that_is_never_closed(tmp_path: Path) -> None:
    rows = plain_rows(6)
    rows[4] = ('"open', "a")
    made = written(tmp_path, rows, ".csv")
    assert texts(made)[4] == '"open' and made.remarks == (SAID.format(suffix=".csv", line=6),)


def test_labels_that_other_rows_do_not_have_are_known_by_their_repetition(tmp_path: Path) -> None:
    rows = [('"x0', "u"), *((f"x{i}", "uv"[i % 2]) for i in range(1, 9)), ('x9"', "v")]
    assert len(written(tmp_path, rows, ".csv")) == 10


def test_numbers_beside_the_text(tmp_path: Path) -> None:
    rows = [(str(i), f"words {i}") for i in range(9)]
    rows[2], rows[5] = ("2", '"begin'), ("5", 'end"')
    assert texts(written(tmp_path, rows, ".tsv", header=("id", "text"))) == [text for _, text in rows]


LETTERS = [('"Dear Sir,\r\nbody"', "spam"), ('"Hello, you\r\nthere"', "ham"), ('"a, b\r\n\r\nc, d\r\ne"', "spam"), ("short", "ham")]


def test_fields_that_span_lines_stay_whole(tmp_path: Path) -> None:
    made = written(tmp_path, LETTERS * 3, ".csv")
    assert texts(made) == [text.strip('"') for text, _ in LETTERS] * 3 and made.remarks == ()
    assert made.row_names[:4] == ["t.csv:2", "t.csv:4", "t.csv:6", "t.csv:10"]


def test_where_both_kinds_are_mixed_the_line_is_named(tmp_path: Path) -> None:
    rows = [*plain_rows(8), ('"quoted, with a comma"', "a")]
    rows[2], rows[5] = ('"He said so', "b"), ('and left again"', "b")
    with pytest.raises(InputError, match=r"t.csv, line 4: a quotation mark opens a field that ends in line 7, and the lines between are"):
        written(tmp_path, rows, ".csv")


def test_quotes_around_whole_fields_go(tmp_path: Path) -> None:
    rows = plain_rows(8)
    rows[1], rows[3], rows[5] = ('"all of ""it"""', "b"), ('"He said so', "b"), ('and left again"', "b")
    assert texts(written(tmp_path, rows, ".tsv"))[1] == 'all of "it"'


def test_many_columns_take_no_longer_than_they_must(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(60_000)) + "\n" + ",".join("1" * 60_000) + "\n")
    with pytest.raises(InputError, match=r"has the columns c0, c1, .* and 59988 more: none has a usual name"):
        read_examples(path)


@pytest.mark.parametrize(("first", "remarks"), [("word", 0), ('a "word', 1)])
def test_a_field_too_long_for_the_csv_reader_is_no_quotation_mark(tmp_path: Path, first: str, remarks: int) -> None:
    rows = plain_rows()
    rows[3] = (first + " word" * 60_000, "b")
    made = written(tmp_path, rows, ".csv")
    assert texts(made) == [text for text, _ in rows]
    assert len([said for said in made.remarks if "does not use quotes" in said]) == remarks
