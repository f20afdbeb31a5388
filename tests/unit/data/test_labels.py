"""One rule for labels in every kind of file and object: what is missing, and what is a class."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewtune.api.estimator import FewShotClassifier
from fewtune.data.audit import inspect_examples
from fewtune.data.class_names import odd_names
from fewtune.data.examples import Examples
from fewtune.data.reading.labels import missing
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError

pd = pytest.importorskip("pandas")

WORDS = ["-1", "nan", "null", "None", "NA", "plain"]
NUMBERS = [-1, 0, 1, 1, 0, -1]
ABSENT = [None, float("nan"), np.float32("nan"), np.float64("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s"), "", "  \t"]


def sources(folder: Path, labels: list[Any], *, numbers: bool) -> dict[str, Any]:
    """The same labels as every kind of file and object that holds them."""
    texts = [f"text {i}" for i in range(len(labels))]
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *zip(texts, labels, strict=True)])
    with open(folder / "t.tsv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([["text", "label"], *zip(texts, labels, strict=True)])
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "l.json").write_text(json.dumps(rows))
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "t.parquet")
    array = np.array(labels, dtype=np.int64) if numbers and None not in labels else np.array(["" if v is None else v for v in labels])
    np.savez(folder / "t.npz", x=np.eye(len(labels)), y=array)
    objects = {
        "frame": pd.DataFrame({"text": texts, "label": labels}),
        "object frame": pd.DataFrame({"text": texts, "label": pd.Series(labels, dtype=object)}),
        "pair": (np.eye(len(labels)), labels),
        "array pair": (texts, array),
    }
    return {path.name: path for path in folder.iterdir()} | objects


@pytest.mark.parametrize("labels", [WORDS, NUMBERS, [*WORDS[:3], None, "", "plain"]])
def test_the_same_labels_are_the_same_classes_in_every_kind_of_source(tmp_path: Path, labels: list[Any]) -> None:
    wanted = [None if missing(label) else str(label) for label in labels]
    for name, source in sources(tmp_path, labels, numbers=labels is NUMBERS).items():
        made = read_examples(source)
        assert set(made.class_names) == set(wanted) - {None}, name
        assert [None if k < 0 else made.class_names[k] for k in made.labels] == wanted, name


def test_the_estimator_keeps_them_too() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert FewShotClassifier("centroid").fit(x, NUMBERS).classes_.tolist() == [-1, 0, 1]
    assert set(FewShotClassifier("centroid").fit(x, WORDS).classes_) == set(WORDS)


@pytest.mark.parametrize("value", ABSENT)
def test_what_is_missing(value: Any) -> None:
    assert missing(value)
    assert read_examples((np.eye(4), ["a", value, "b", "a"])).labels.tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize("value", [0, -1, False, "nan", "null", "0", 0.0, b"x", np.int64(-1), np.str_("nan")])
def test_what_is_not_missing(value: Any) -> None:
    assert not missing(value)


@pytest.mark.parametrize("name", ["nan", "null", "None", "-1"])
def test_class_folders_of_any_name(tmp_path: Path, name: str) -> None:
    for folder in (name, "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.txt").write_text(f"words of {folder}")
    made = read_examples(tmp_path)
    assert dict(zip(made.class_names, made.counts().tolist(), strict=True)) == {name: 1, "other": 1}
    assert any(f"There is a class called {name!r}" in said for said in inspect_examples(made).sentences())


def test_names_of_digits_and_words_have_one_order_whatever_the_order_of_rows() -> None:
    names = ["10", "nan", "9", "b", "NaN", "a", "-1"]
    orders = {read_examples((np.eye(7), names[i:] + names[:i])).class_names for i in range(7)}
    assert orders == {("-1", "9", "10", "NaN", "a", "b", "nan")}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Dress", "dress", "x"], ["The classes 'Dress' and 'dress' differ only in case: if they are one class, give them the same name."]),
        (["-1", "0", "1"], []),
        (["1", "-1"], []),
        (["-1", "3"], ["There is a class called '-1': if it means that the label is missing, leave the label empty."]),
        (["a", "b"], []),
    ],
)
def test_odd_names(names: list[str], said: list[str]) -> None:
    assert odd_names(names) == said


def test_many_twins_are_counted() -> None:
    said = odd_names([n for c in "abcdef" for n in (c, c.upper())])
    assert len(said) == 4 and said[-1] == "3 more groups of classes differ as little as that."


def folders(root: Path, *names: str) -> Examples:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "1.txt").write_text(f"words of {name!r}")
    return read_examples(root)


def test_blanks_around_the_name_of_a_class_folder(tmp_path: Path) -> None:
    made = folders(tmp_path / "one", "ant ", "bee")
    assert made.class_names == ("ant", "bee") and made.labels.tolist() == [0, 1] and made.row_names[0] == "ant /1.txt"
    assert made.remarks == ("The class folder 'ant ' begins or ends with a blank; its class is called 'ant'.",)
    made = folders(tmp_path / "two", "ant ", "ant", "bee")
    assert made.class_names == ("ant", "bee") and made.counts().tolist() == [2, 1]
    assert made.remarks == ("The class folders 'ant' and 'ant ' differ only in blanks and are read as one class, 'ant'.",)
    with pytest.raises(InputError, match=r"three/ /1.txt has a name of blanks only: rename it"):
        folders(tmp_path / "three", " ", "bee")


def test_empty_and_hidden_class_folders_are_named(tmp_path: Path) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / "coat").mkdir()
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("nothing to learn from")
    made = folders(root, "java", "python", ".net")
    assert made.class_names == ("java", "python")
    assert made.remarks == (
        "A class folder without an example: 'coat'.",
        "A folder whose name begins with a dot counts as hidden and was skipped: '.net'; rename it if that is a class.",
    )
    assert set(made.remarks) <= set(inspect_examples(made).sentences())
    (tmp_path / "two" / "test" / "bee").mkdir(parents=True)
    made = folders(tmp_path / "two", "train/ant", "train/bee", "test/ant")
    assert made.remarks == ("A class folder without an example: 'test/bee'.",)
