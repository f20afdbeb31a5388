"""Splits of classes, by name, file and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts
from fewtune.data.splits import held_out, split_classes
from fewtune.errors import InputError


def classes(count: int, order: list[int] | None = None) -> Examples:
    names = [f"c{i}" for i in (order or range(count))]
    return make_examples(Texts(["t"] * count), names, class_names=names)


def test_by_name() -> None:
    made = split_classes(classes(5), {"train": ["c0", "c3"], "val": ["c1"], "test": ["c2"]})
    assert made.class_split.tolist() == [0, 1, 2, 0, -1]
    with pytest.raises(InputError, match="unknown class in the test split of data 'c11': did you mean c1"):
        split_classes(classes(5), {"test": ["c11"]})
    with pytest.raises(InputError, match="unknown split 'tets': did you mean test"):
        split_classes(classes(5), {"tets": ["c1"]})
    with pytest.raises(InputError, match="class 'c1' is in two splits"):
        split_classes(classes(5), {"train": ["c1"], "test": ["c1"]})


def test_by_file(tmp_path: Path) -> None:
    expected = [0, 1, 2, -1]
    contents = {
        "a.json": '{"train": ["c0"], "validation": ["c1"], "test": ["c2"]}',
        "b.json": '{"c0": "train", "c1": "dev", "c2": "test"}',
        "c.csv": "class,split\nc0,train\nc1,val\nc2,test\n",
        "d.csv": "split,Class\r\ntrain,c0\r\nval,c1\r\ntest,c2\r\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert split_classes(classes(4), tmp_path / name).class_split.tolist() == expected
    faults = {
        "e.json": ("[1]", "expected {"),
        "f.json": ("{", "is not JSON"),
        "g.csv": ("a,b\nc0,train\n", "found a, b"),
        "h.csv": ("", "found nothing"),
    }
    for name, (content, sentence) in faults.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=sentence):
            split_classes(classes(4), str(tmp_path / name))
    with pytest.raises(InputError, match="does not exist"):
        split_classes(classes(4), tmp_path / "none.csv")


@given(st.integers(2, 60), st.integers(0, 5))
def test_by_seed_sizes_are_the_rounded_fractions(count: int, seed: int) -> None:
    sizes = np.bincount(split_classes(classes(count), seed=seed).class_split, minlength=3)
    assert sizes.sum() == count and sizes[0] >= 1 and sizes[2] >= 1
    assert np.abs(sizes - count * np.array([0.64, 0.16, 0.2])).max() <= 1.01


def test_by_seed_depends_on_seed_and_names_alone() -> None:
    made = split_classes(classes(20), seed=3)
    order = np.random.default_rng(0).permutation(20).tolist()
    shuffled = split_classes(classes(20, order), seed=3)
    by_name = dict(zip(made.class_names, made.class_split.tolist(), strict=True))
    assert by_name == dict(zip(shuffled.class_names, shuffled.class_split.tolist(), strict=True))
    assert made.class_split.tolist() != split_classes(classes(20), seed=4).class_split.tolist()
    assert split_classes(classes(6), fractions=(0.5, 0.0, 0.5)).class_split.tolist().count(1) == 0
    bad: Any
    for bad in ((0.5, 0.2, 0.2), (1.2, -0.2, 0.0), (1.0,)):
        with pytest.raises(InputError, match="expected three numbers"):
            split_classes(classes(6), fractions=bad)


def test_held_out_takes_from_training_classes_only() -> None:
    marked = split_classes(classes(20), {"train": [f"c{i}" for i in range(15)], "test": [f"c{i}" for i in range(15, 20)]})
    made = held_out(marked, seed=1)
    assert np.bincount(made.class_split).tolist() == [12, 3, 5] and (made.class_split[15:] == 2).all()
    assert np.bincount(held_out(classes(20)).class_split).tolist() == [16, 4]  # no split at all: all are training classes
    assert np.bincount(held_out(classes(5)).class_split).tolist() == [3, 2]  # at least two
    assert np.bincount(held_out(classes(5), fraction=0.9).class_split).tolist() == [2, 3]  # and two remain
    few = classes(3)
    assert held_out(few) is few
    ready = split_classes(classes(6), {"train": ["c0", "c1", "c2", "c3"], "val": ["c4"]})
    assert held_out(ready) is ready
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        held_out(classes(6), fraction=1.0)
