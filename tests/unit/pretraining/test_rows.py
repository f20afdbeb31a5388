"""Which rows are trained on and which a probe sees: never the same to judge by, and never a test row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.keys import key
from fewtune.pretraining.probe import probe_of
from fewtune.pretraining.rows import CLASSES, ROWS, Rows, divided

KEY = key(0, "rows")


def numbered(labels: list[int], **given: np.ndarray) -> Examples:
    """Rows whose vector is their number."""
    x = np.arange(len(labels), dtype=np.float32)[:, None]
    names = [f"c{k}" for k in range(max(labels, default=0) + 1)]
    return replace(make_examples(Vectors(x), np.array(labels), class_names=names, name="rows"), **given)


def numbers(examples: Examples | None) -> set[int]:
    return set() if examples is None else {int(examples.items.fetch(i)[0]) for i in range(len(examples))}


def of_class(examples: Examples | None) -> dict[str, int]:
    assert examples is not None
    return {name: int((examples.labels == k).sum()) for k, name in enumerate(examples.class_names)}


def apart(found: Rows) -> None:
    assert not numbers(found.judge) & (numbers(found.train) | numbers(found.fit))
    assert found.fit is not None and found.judge is not None and found.fit.class_names == found.judge.class_names
    assert set(of_class(found.fit)) == {name for name, count in of_class(found.fit).items() if count}


def test_one_row_in_five_of_each_class_is_held_out() -> None:
    labels = [0] * 10 + [1] * 4 + [2] * 3 + [3] * 200
    found = divided(numbered(labels), KEY)
    apart(found)
    assert sorted(of_class(found.judge).values()) == [1, 2, ROWS] and sorted(of_class(found.fit).values()) == [3, 8, ROWS]
    assert len(found.train) == len(labels) - 1 - 2 - ROWS and numbers(found.fit) <= numbers(found.train)
    assert "held-out rows of the same classes" in found.told
    again, other = divided(numbered(labels), KEY), divided(numbered(labels), key(1, "rows"))
    assert numbers(again.judge) == numbers(found.judge) != numbers(other.judge)


def test_validation_rows_judge_and_test_rows_are_used_for_nothing() -> None:
    labels = [k for k in range(3) for _ in range(30)]
    split = np.tile(np.repeat([0, 1, 2], 10), 3)
    found = divided(numbered(labels, row_split=split), KEY)
    apart(found)
    assert numbers(found.train) == set(np.flatnonzero(split == 0)) and numbers(found.judge) == set(np.flatnonzero(split == 1))
    assert "validation rows" in found.told


def test_validation_classes_judge_and_test_classes_are_used_for_nothing() -> None:
    labels = [k for k in range(6) for _ in range(12)]
    found = divided(numbered(labels, class_split=np.array([0, 1, 1, 2, 0, 2])), KEY)
    apart(found)
    assert numbers(found.train) == {i for i, k in enumerate(labels) if k in (0, 4)}
    assert of_class(found.fit) == of_class(found.judge) == {"c1": 6, "c2": 6} and not numbers(found.fit) & numbers(found.train)
    assert "validation classes" in found.told


def test_validation_rows_of_train_classes_are_not_trained_on_beside_validation_classes() -> None:
    labels = [k for k in range(4) for _ in range(12)]
    found = divided(numbered(labels, class_split=np.array([0, 0, 1, 1]), row_split=np.arange(48) % 3 - 1), KEY)
    apart(found)
    assert numbers(found.train) == {i for i in range(24) if i % 3 < 2} and "validation classes" in found.told


def test_test_rows_are_used_for_nothing_where_no_row_validates() -> None:
    split = np.tile(np.repeat([0, 2, -1], 10), 3)
    found = divided(numbered([k for k in range(3) for _ in range(30)], row_split=split), KEY)
    apart(found)
    assert numbers(found.train) | numbers(found.judge) == set(np.flatnonzero(split != 2)) and "held-out rows" in found.told


@pytest.mark.parametrize("split", [[0, 0, 2, 2], [-1, -1, -1, 2]])
def test_test_classes_are_used_for_nothing_where_no_class_validates(split: list[int]) -> None:
    labels = [k for k in range(4) for _ in range(10)]
    found = divided(numbered(labels, class_split=np.array(split)), KEY)
    apart(found)
    used = numbers(found.train) | numbers(found.fit) | numbers(found.judge)
    assert used == {i for i, k in enumerate(labels) if split[k] != 2} and "held-out rows" in found.told


def test_a_probe_has_at_most_twenty_classes() -> None:
    found = divided(numbered([k for k in range(40) for _ in range(10)]), KEY)
    apart(found)
    assert found.fit is not None and len(found.fit.class_names) == CLASSES
    probe = probe_of(found)
    assert (
        probe is not None
        and f"learns {CLASSES} classes from 160 rows and is judged by 40 rows" in probe.sentence
        and "5%" in probe.sentence
    )
    assert probe.interval(0.5)[0] == pytest.approx(0.352, abs=1e-3) and probe.interval(0.5)[1] == pytest.approx(0.648, abs=1e-3)


@pytest.mark.parametrize("labels", [[-1] * 9, [0] * 9, [0, 0, 1, 1, -1]])
def test_without_two_classes_of_rows_there_is_no_probe(labels: list[int]) -> None:
    found = divided(numbered([max(k, 0) for k in labels]), KEY)
    column = Column("class", np.array(labels), tuple(f"c{k}" for k in range(max(labels) + 1)))
    found = divided(replace(numbered([0] * len(labels)), columns={"label": column}, class_split=np.full(len(column.names), -1)), KEY)
    assert probe_of(found) is None
    assert numbers(found.train) == set(range(len(labels)))


def test_numbers_are_no_classes() -> None:
    column = Column("float", np.arange(9.0)[:, None])
    found = divided(replace(numbered([0] * 9), columns={"label": column}, class_split=np.zeros(0, dtype=np.int64)), KEY)
    assert probe_of(found) is None and len(found.train) == 9
