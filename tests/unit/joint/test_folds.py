"""Rows in folds: copies stay together, tasks of few rows are in two folds, and numbers of few values are no copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewtune.backbones.load import load_backbone
from fewtune.data.reading.label_table import Wanted, read_label_table
from fewtune.errors import InputError
from fewtune.joint.adapt import JointSettings, adapt_columns
from fewtune.joint.folds import check_differ, fold_of_rows
from fewtune.joint.rows import JointRows, joint_rows
from fewtune.joint.study import compare_columns, compared_methods
from fewtune.keys import key
from tests.unit.joint.grounds import houses


def rooms(folder: Path, values: list[int], labels: list[str]) -> Path:
    path = folder / "rooms.csv"
    path.write_text("rooms,kind\n" + "\n".join(f"{a},{b}" for a, b in zip(values, labels, strict=True)) + "\n")
    return path


def of(path: Path) -> JointRows:
    return joint_rows(read_label_table(path, Wanted(labels=("kind",), numbers=("rooms",))), None)


def test_numbers_of_few_values_are_no_copies(tmp_path: Path) -> None:
    """One number with two values that says all: new rows have the same two values, so held-out rows are answered right."""
    table = read_label_table(rooms(tmp_path, [1, 2] * 20, ["small", "big"] * 20), Wanted(labels=("kind",), numbers=("rooms",)))
    found = adapt_columns(table, None, JointSettings(methods={}))
    assert found.tasks[0].best.value.mean == 1.0


def test_a_few_equal_rows_of_numbers_are_copies(tmp_path: Path) -> None:
    values = [*range(20), *range(10)]
    fold = fold_of_rows(of(rooms(tmp_path, values, ["a", "b"] * 15)), 5, key(0))
    assert (fold[:10] == fold[20:]).all() and len(np.unique(fold)) == 5


def test_equal_rows_of_photos_or_texts_are_copies_however_many(tmp_path: Path) -> None:
    rows = of(rooms(tmp_path, [1, 2, 3] * 10, ["a", "b"] * 15))
    fold = fold_of_rows(replace(rows, backbone=load_backbone("pixels")), 3, key(0))
    assert all(len(np.unique(fold[start::3])) == 1 for start in range(3)) and len(np.unique(fold)) == 3


def test_the_rows_of_a_task_are_in_two_folds(tmp_path: Path) -> None:
    """Whatever the other columns deal out: here 4 rows of one column among many of the others."""
    rows = joint_rows(houses(tmp_path, rows=60, missing=0.0), None)
    for seed in range(60):
        few = np.random.default_rng(seed).choice(rows.train, 2, replace=False)
        tasks = (replace(rows.tasks[0], train=np.sort(few)), *rows.tasks[1:])
        fold = fold_of_rows(replace(rows, tasks=tasks), 2, key(seed))
        assert len(np.unique(fold[few])) == 2


def test_one_input_for_all_rows_is_said(tmp_path: Path) -> None:
    table = houses(tmp_path)
    rows = joint_rows(table, None)
    same = replace(rows, features=torch.zeros_like(rows.features), backbone=load_backbone("pixels"))
    with pytest.raises(InputError, match="every row with a label in 'price' has the same input"):
        check_differ(same)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "one.png")
    (tmp_path / "photos.csv").write_text("path,kind\n" + "one.png,a\none.png,b\n" * 5)
    photos, backbone = read_label_table(tmp_path / "photos.csv", Wanted(labels=("kind",))), load_backbone("conv4,size=16,width=4")
    for work in (lambda: adapt_columns(photos, backbone), lambda: compare_columns(photos, backbone, compared_methods(["heads"]))):
        with pytest.raises(InputError, match="every row with a label in 'kind' has the same input"):
            work()


def test_a_number_that_is_the_same_in_all_rows_says_nothing(tmp_path: Path) -> None:
    table = read_label_table(rooms(tmp_path, [3] * 20, ["a", "b"] * 10), Wanted(labels=("kind",), numbers=("rooms",)))
    found = adapt_columns(table, None, JointSettings(methods={}, folds=50))
    assert found.folds == 20 and found.tasks[0].best.value.mean <= 0.5
