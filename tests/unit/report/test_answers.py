"""Answers as tables: a table's own columns come back as they were, beside them the answers; in every kind of file."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st

from fewtune.data.reading.inputs import Given, read_given
from fewtune.errors import InputError
from fewtune.models.predict import Prediction
from fewtune.report.answer_files import WRITERS, AnswerFile, csv_text_of
from fewtune.report.answers import answer_table, as_plain
from fewtune.report.predictions import render_predictions


def answered(given: Given, label: str | None = "a") -> list[Prediction]:
    return [Prediction(name, label, 0.75, {"a": 0.75, "b": 0.25}) for name in given.examples.row_names]


def table_of(folder: Path, content: str, name: str = "t.csv") -> Given:
    (folder / name).write_bytes(content.encode())
    return read_given([folder / name], [], "text")


def test_a_table_gets_its_own_columns_back(tmp_path: Path) -> None:
    given = table_of(tmp_path, 'id,text,amount\n007,"hello, ""you""",-5\n=1+1,"two\nlines",@x\n')
    made = answer_table(given, {"": answered(given)})
    assert made.names == ("id", "text", "amount", "label", "probability")
    AnswerFile(tmp_path / "out.csv").write(made)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "text", "amount", "label", "probability"],
        ["007", 'hello, "you"', "-5", "a", "0.75"],
        ["=1+1", "two\nlines", "@x", "a", "0.75"],
    ]
    assert given.examples.row_names == [f"{tmp_path}/t.csv:2", f"{tmp_path}/t.csv:3"]  # by lines, as in messages


def test_what_was_no_separated_text_is_neutralised_in_one(tmp_path: Path) -> None:
    given = table_of(tmp_path, json.dumps({"text": "=HYPERLINK(0)", "n": -5, "list": [1, {"a": 2}], "no": None}), "t.jsonl")
    made = answer_table(given, {"": answered(given, "=evil")})
    [header, row] = csv.reader(io.StringIO(csv_text_of(made)))
    assert dict(zip(header, row, strict=True)) == {
        "text": "'=HYPERLINK(0)",
        "n": "-5",
        "list": '[1, {"a": 2}]',
        "no": "",
        "label": "'=evil",
        "probability": "0.75",
    }
    AnswerFile(tmp_path / "out.jsonl").write(made)
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "text": "=HYPERLINK(0)",
        "n": -5,
        "list": [1, {"a": 2}],
        "no": None,
        "label": "=evil",
        "probability": 0.75,
    }


def test_every_kind_of_file_holds_the_same(tmp_path: Path) -> None:
    given = table_of(tmp_path, "text,n\nx,1\ny,2\n")
    made = answer_table(given, {"": [*answered(given)[:1], Prediction("y", None, 0.0, {}, "it is gone")]}, scores=("a", "b"))
    expected = [
        {"text": "x", "n": "1", "label": "a", "probability": 0.75, "problem": None, "a": 0.75, "b": 0.25},
        {"text": "y", "n": "2", "label": None, "probability": None, "problem": "it is gone", "a": None, "b": None},
    ]
    for suffix in (*WRITERS, ".xlsx"):
        AnswerFile(tmp_path / f"out{suffix}").check([])
        AnswerFile(tmp_path / f"out{suffix}").write(made)
    [header, *cells] = openpyxl.load_workbook(tmp_path / "out.xlsx").active.values
    assert [dict(zip(header, row, strict=True)) for row in cells] == expected
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == expected
    assert json.loads((tmp_path / "out.json").read_text()) == expected
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == expected
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        rows = list(csv.DictReader(io.StringIO((tmp_path / f"out{suffix}").read_text()), delimiter=delimiter))
        assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]


def test_names_that_the_table_has_already(tmp_path: Path) -> None:
    """In a file the table's own names stay; for programs that know ours, ours do."""
    given = table_of(tmp_path, "text,label,predicted label,probability\nx,old,older,9\n")
    made = answer_table(given, {"": answered(given)})
    own = ("text", "label", "predicted label", "probability")
    assert made.names == (*own, "predicted label 2", "predicted probability")
    assert [c[0] for c in made.columns] == ["x", "old", "older", "9", "a", 0.75]
    assert "label is called predicted label 2, probability is called predicted probability." in made.remarks[0]
    [row] = csv.DictReader(io.StringIO(render_predictions(answered(given), ("a", "b"), "csv", given)))
    assert row["label"] == "a" and row["probability"] == "0.75" and row["own label"] == "old" and row["own probability"] == "9"
    assert row["input"] == f"{tmp_path}/t.csv:2" and row["a"] == "0.75"


def test_several_tasks_and_classes_that_are_called_as_columns_are(tmp_path: Path) -> None:
    given = table_of(tmp_path, "text\nx\n")
    moods = [Prediction("x", "label", 0.5, {"label": 0.5, "problem": 0.5}, "odd")]
    made = answer_table(given, {"mood": moods, "topic": answered(given)}, scores=("label", "problem"))
    assert made.names[1:5] == ("mood", "mood probability", "mood problem", "mood class label")
    assert made.names[5:] == ("mood class problem", "topic", "topic probability", "topic class label", "topic problem")


def test_rows_of_several_inputs_share_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "t.csv").write_text("text,n\nx,1\n")
    (tmp_path / "u.jsonl").write_text('{"text": "y", "m": 2}\n')
    given = read_given([tmp_path / "a.txt", tmp_path / "t.csv", tmp_path / "u.jsonl"], ["said"], "text")
    made = answer_table(given, {"": answered(given)})
    assert dict(zip(made.names, made.columns, strict=True)) == {
        "text": [None, "x", "y", None],
        "n": [None, "1", None, None],
        "m": [None, None, 2, None],
        "input": [str(tmp_path / "a.txt"), f"{tmp_path}/t.csv:2", f"{tmp_path}/u.jsonl:1", "said"],
        "label": ["a"] * 4,
        "probability": [0.75] * 4,
    }
    records = json.loads(render_predictions(answered(given), ("a", "b"), "json", given))
    assert [record.get("row") for record in records] == [None, {"text": "x", "n": "1", "m": None}, {"text": "y", "n": None, "m": 2}, None]


def test_only_the_input_column_of_a_table_is_looked_at(tmp_path: Path) -> None:
    """An empty label column, to be filled in, and a strange split are nobody's business here."""
    given = table_of(tmp_path, "text,label,split\nx,,banana\ny,,\n")
    assert given.examples.row_names == [f"{tmp_path}/t.csv:2", f"{tmp_path}/t.csv:3"]
    assert (given.examples.labels < 0).all()


def test_bytes_and_broken_columns_are_named_and_left_out(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"text": ["x"], "raw": [b"\x00"], "deep": [{"bytes": b"1"}]}), tmp_path / "t.parquet")
    given = read_given([tmp_path / "t.parquet"], [], "text")
    made = answer_table(given, {"": answered(given)})
    assert made.names == ("text", "label", "probability")
    assert [r for r in made.remarks if "raw" in r or "deep" in r] == list(made.remarks) and len(made.remarks) == 2


def test_an_answer_file_is_checked_before_any_work(tmp_path: Path) -> None:
    given = tmp_path / "t.csv"
    given.write_text("text\nx\n")
    (tmp_path / "link.csv").symlink_to(given)
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "old.csv").write_text("old")
    for name, said in (
        ("out.xls", "is not a kind of table that is written: expected .csv"),
        ("folder.csv", "is a folder"),
        ("pipe.csv", "is not a plain file"),
        ("link.csv", "is one of the inputs"),
        ("t.csv", "is one of the inputs"),
        ("t.csv/out.csv", "is a file, so no folder"),
    ):
        with pytest.raises(InputError, match=said):
            AnswerFile(tmp_path / name, overwrite=True).check([given])
    with pytest.raises(InputError, match=r"old.csv exists already: .*--overwrite"):
        AnswerFile(tmp_path / "old.csv").check([given])
    AnswerFile(tmp_path / "old.csv", overwrite=True).check([given])
    AnswerFile(tmp_path / "new" / "out.csv").check([given])
    assert not (tmp_path / "new").exists() and (tmp_path / "old.csv").read_text() == "old"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    given = table_of(tmp_path, "text\nx\n")
    out = AnswerFile(tmp_path / "out.csv")
    out.check([])
    (tmp_path / "out.csv").write_text("of another program")
    with pytest.raises(InputError, match="in the meantime"):
        out.write(answer_table(given, {"": answered(given)}))
    assert (tmp_path / "out.csv").read_text() == "of another program"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "t.csv"]


def test_plain_values() -> None:
    import datetime
    import decimal

    import numpy as np

    assert as_plain(math.nan) is None and as_plain(np.float32(0.5)) == 0.5 and as_plain(np.array([1, 2])) == [1, 2]
    assert as_plain(datetime.date(2026, 1, 2)) == "2026-01-02" and as_plain(decimal.Decimal("1.50")) == "1.50"
    assert as_plain({"a": (1, math.inf)}) == {"a": [1, None]}


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"), max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@each(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_any_text_comes_back_from_separated_values(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("t")
    out = io.StringIO()
    csv.writer(out).writerows([("text", "other"), *(("x" + a, b) for a, b in rows)])
    given = table_of(folder, out.getvalue())
    found: list[Any] = list(csv.reader(io.StringIO(csv_text_of(answer_table(given, {"": answered(given)})), newline="")))
    known, _ = given.columns()
    assert [row[:2] for row in found[1:]] == [list(row) for row in zip(known["text"], known["other"], strict=True)]
    assert [row[1] for row in found[1:]] == [b for _, b in rows] or given.examples.remarks
