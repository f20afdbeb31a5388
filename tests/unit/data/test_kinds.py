"""What kind of labels a column holds, and columns of numbers as inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.data.reading.kinds import check_kinds, kind_of_column, number_of, read_numbers
from fewtune.data.reading.label_table import Wanted, read_label_table, single_kind
from fewtune.data.reading.read import read_examples
from fewtune.data.reading.table_files import read_table
from fewtune.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["PG", "R", None, ""], "class"),
        (["0", "1", "1", ""], "class"),
        ([True, False, None], "class"),
        (["1", "2", "5", "3"], "class"),
        (list(range(150)), "class"),
        ([*range(1, 201)], "class"),
        ([*range(202)], "float"),
        ([*range(1990, 2020)], "float"),
        ([7 * n for n in range(30)], "float"),
        (["3.5", "4", ""], "float"),
        ([1.0, 2.0, None], "class"),
        (["1e3", "2.5e-1"], "float"),
        (["a|b", "b", ""], "multi"),
        ([["a", "b"], []], "multi"),
        (['["a", "b"]'], "multi"),
        (["1_000", "2_000"], "class"),
    ],
)
def test_the_kind_is_found_out(values: list[Any], kind: str) -> None:
    assert kind_of_column(values, "column 'x'") == kind


def test_a_column_that_mixes_numbers_and_words_is_refused() -> None:
    with pytest.raises(InputError, match=r"column 'x' mixes numbers and words, such as '7.5' and 'n/a': clear the words, or say"):
        kind_of_column(["7.5", "n/a", "8"], "column 'x'")
    with pytest.raises(InputError, match="column 'x' has no label in any row"):
        kind_of_column(["", None, float("nan")], "column 'x'")


def test_kinds_that_are_given_are_checked() -> None:
    assert check_kinds({"a": "float"}, ["a", "b"]) == {"a": "float"}
    with pytest.raises(InputError, match="unknown kind 'number' of a: expected class, float or multi"):
        check_kinds({"a": "number"}, ["a"])
    with pytest.raises(InputError, match="a kind is given for 'c', which is no label column"):
        check_kinds({"c": "float"}, ["a"])


def test_numbers() -> None:
    assert [number_of(value) for value in ("2", " 3.5 ", "x", "", "1_0", None, 4)] == [2.0, 3.5, None, None, None, None, 4.0]


def table(folder: Path, text: str) -> Path:
    path = folder / "films.csv"
    path.write_text(text)
    return path


FILMS = "title,year,budget,rating,mpaa,tags,split\n" + "".join(
    f"film {i},{1990 + i},{'' if i % 3 else i * 1000},{i / 2},{'PG' if i % 2 else ''},{'a|b' if i % 2 else 'b'},train\n" for i in range(8)
)


def test_numbers_of_a_table(tmp_path: Path) -> None:
    read = read_table(table(tmp_path, FILMS))
    found = read_numbers(read, ["year", "budget"])
    np.testing.assert_array_equal(found[:3], [[1990, 0], [1991, np.nan], [1992, np.nan]])
    with pytest.raises(InputError, match=r"films.csv:2: column 'title' holds text, 'film 0': numbers are expected"):
        read_numbers(read, ["title"])
    with pytest.raises(InputError, match="'year' is named twice"):
        read_numbers(read, ["year", "year"])
    with pytest.raises(InputError, match="has no column 'years' of numbers"):
        read_numbers(read, ["years"])
    infinite = read_table(table(tmp_path, "a,b\n1,inf\n2,3\n"))
    with pytest.raises(InputError, match="column 'b' holds an infinite number, 'inf'"):
        read_numbers(infinite, ["b"])
    with pytest.raises(InputError, match="column 'b' holds a number beyond 1e100, '-1e101'"):
        read_numbers(read_table(table(tmp_path, "a,b\n1,1e100\n2,-1e101\n")), ["b"])
    empty = read_table(table(tmp_path, "a,b\n1,\n2,\n"))
    with pytest.raises(InputError, match="column 'b' holds no number in any row"):
        read_numbers(empty, ["b"])
    assert np.isnan(read_numbers(empty, ["b"], empty=True)).all()


def test_several_label_columns_are_read_each_by_its_kind(tmp_path: Path) -> None:
    made = read_label_table(
        table(tmp_path, FILMS), Wanted(labels=("rating", "mpaa", "tags"), numbers=("year",), input="title", kinds={"mpaa": "class"})
    )
    columns = made.examples.columns
    assert [columns[name].kind for name in ("rating", "mpaa", "tags")] == ["float", "class", "multi"]
    assert columns["rating"].values[:3, 0].tolist() == [0.0, 0.5, 1.0]
    assert columns["mpaa"].values[:2].tolist() == [-1, 0] and columns["tags"].values[:2].tolist() == [[0, 1], [1, 1]]
    assert made.examples.modality == "text" and not made.bare and made.numbers.shape == (8, 1)


def test_numbers_may_be_the_only_input(tmp_path: Path) -> None:
    path = table(tmp_path, FILMS.replace("title", "name"))
    assert read_label_table(path, Wanted(labels=("rating",), numbers=("year", "budget"))).bare


@pytest.mark.parametrize(
    ("labels", "numbers", "input", "said"),
    [
        (("rating", "rating"), (), "title", "'rating' is named twice"),
        (("raiting",), (), "title", "unknown label column of films 'raiting': did you mean rating"),
        (("rating",), ("rating",), "title", "'rating' is both an input and a label"),
        (("title",), (), "title", "'title' is both an input and a label"),
        ((), (), "title", "expected at least one label column"),
    ],
)
def test_wrong_columns_are_said(tmp_path: Path, labels: tuple[str, ...], numbers: tuple[str, ...], input: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_label_table(table(tmp_path, FILMS), Wanted(labels=labels, numbers=numbers, input=input))


@pytest.mark.parametrize("labels", [("text",), ("mark", "text")])
def test_a_usual_input_is_no_label(tmp_path: Path, labels: tuple[str, ...]) -> None:
    path = table(tmp_path, "text,mark\nfine,a\nbad,b\nwell,a\npoor,b\n")
    with pytest.raises(InputError, match="'text' is both an input and a label"):
        read_label_table(path, Wanted(labels=labels))
    with pytest.raises(InputError, match="'text' is both an input and a label"):
        read_examples(path, label="text")
    with pytest.raises(InputError, match="'mark' is both an input and a label"):
        read_examples(path, label="mark", input="mark")
    assert read_examples(path, label="mark").class_names == ("a", "b")


def test_the_kind_of_an_only_column(tmp_path: Path) -> None:
    path = table(tmp_path, FILMS)
    assert [single_kind(path, name) for name in ("rating", "mpaa", "tags", "year", "none")] == ["float", "class", "multi", "class", "class"]
    assert single_kind(tmp_path, "rating") == "class"
