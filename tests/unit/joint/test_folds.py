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
from fewtune.joint.held_out import FEW_FOLDS, folds_in_time, on_scale, parts_of
from fewtune.joint.judged import judged_task
from fewtune.joint.rows import JointRows, joint_rows
from fewtune.joint.study import compare_columns, compared_methods
from fewtune.joint.ways import HEADS, fit_head
from fewtune.joint.words import copied_sentence
from fewtune.keys import key
from fewtune.models.joint.model import answers_of
from fewtune.recipes.sharing import shared_bottom
from fewtune.sides.clock import Clock
from tests.unit.joint.grounds import houses, write_houses


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


def wide(folder: Path, rows: int = 40, width: int = 200) -> Path:
    """Labels by chance, and so many random numbers that whoever has seen a row knows its label again."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(rows, width))
    header = ",".join([*(f"n{i}" for i in range(width)), "kind", "price"])
    lines = [
        ",".join([*(f"{x:.6f}" for x in row), "ab"[random.integers(2)], f"{price:.6f}"])
        for row, price in zip(numbers, random.normal(size=rows), strict=True)
    ]
    path = folder / "wide.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_no_way_has_seen_the_rows_that_it_is_judged_on(tmp_path: Path) -> None:
    """Of labels by chance nothing can be held out and known; a head fitted on its own held-out rows would answer them right."""
    names = tuple(f"n{i}" for i in range(200))
    table = read_label_table(wide(tmp_path), Wanted(labels=("kind", "price"), numbers=names))
    rows, metrics = joint_rows(table, None), {"class": "auc", "float": "spearman"}
    for task, most in zip(rows.tasks, (0.75, 0.5), strict=True):
        for head in HEADS[task.column.kind].values():
            outputs = {"seen": fit_head(rows, task, head, rows.train).outputs(rows.features)}
            seen = judged_task(rows, rows.tasks.index(task), outputs, 5, metrics=metrics)
            assert seen.ways["seen"].value.mean > most + 0.15, "the rows are not planted well: a leak would not be seen"
    found = adapt_columns(table, None, JointSettings(methods={"shared": shared_bottom(steps=60)}, metrics=metrics))
    for one, most in zip(found.tasks, (0.75, 0.5), strict=True):
        assert len(one.ways) >= 2 and all(way.value.mean < most for way in one.ways.values())


def test_nothing_is_measured_on_the_rows_that_are_asked(tmp_path: Path) -> None:
    """A row far from all others moves neither the mean nor the spread of the folds that answer it."""
    rows = joint_rows(houses(tmp_path, rows=60, missing=0.0), None)
    numbers = rows.table.numbers.copy()
    numbers[7] *= 1000.0
    far = joint_rows(replace(rows.table, numbers=numbers), None)
    fold = fold_of_rows(rows, 3, key(0))
    for part, other in zip(parts_of(rows, fold, 3), parts_of(far, fold, 3), strict=True):
        assert not np.intersect1d(part.rows.train, part.asked).size and set(part.rows.train) | set(part.asked) == set(rows.train)
        same = bool(torch.equal(part.rows.scaling.mean, other.rows.scaling.mean))
        assert same == (7 in part.asked)
        learned = part.rows.features[part.rows.train].double()
        assert learned.mean(0).abs().max() < 1e-5 and (learned.std(0, correction=0) - 1).abs().max() < 1e-5
        assert part.rows.tasks[0].scale[0] == pytest.approx(rows.tasks[0].column.values[part.rows.train].mean())


def test_outputs_of_another_scale_are_the_same_numbers(tmp_path: Path) -> None:
    rows = joint_rows(houses(tmp_path, rows=60), None)
    part = rows.learned_on(rows.train[:30])
    task, learned = rows.tasks[0], part.tasks[0]
    numbers = answers_of("float", outputs := np.random.default_rng(0).normal(size=(9, 1)), learned.scale)
    assert learned.scale != task.scale
    np.testing.assert_allclose(answers_of("float", on_scale(outputs, learned, task), task.scale), numbers, rtol=1e-12)


def test_test_rows_that_copy_learned_ones_are_left_out(tmp_path: Path) -> None:
    path = write_houses(tmp_path / "houses.csv", rows=60, split=True)
    lines = path.read_text().splitlines()
    learned = next(line for line in lines[1:] if line.endswith("train") and ",," not in line)
    path.write_text("\n".join([*lines, learned.removesuffix("train") + "test"]) + "\n")
    rows = joint_rows(read_label_table(path, Wanted(labels=("price", "kind", "tags"), numbers=("size", "age"))), None)
    assert rows.copied == 1 and 60 not in rows.test and not any(60 in task.test for task in rows.tasks) and len(rows.test) == 15
    assert copied_sentence(rows) == ("1 test row was not measured on, because it has the input of a row that was learned from.",)
    assert not copied_sentence(replace(rows, copied=0))
    only = [line for line in lines[1:] if line.endswith("train")]
    path.write_text("\n".join([lines[0], *only, *(line.removesuffix("train") + "test" for line in only)]) + "\n")
    table = read_label_table(path, Wanted(labels=("price",), numbers=("size", "age")))
    with pytest.raises(InputError, match="every test row has the input of a row that is learned from"):
        compare_columns(table, None, compared_methods(["heads"]))


def test_folds_that_do_not_fit_in_the_budget_are_fewer(tmp_path: Path) -> None:
    """With next to no time there are the usual folds and a sentence; with much, as many as are asked for; and usual ones are not timed."""
    rows = joint_rows(houses(tmp_path, rows=40), None)
    parts, said = folds_in_time(rows, 30, Clock(1e-6), key(0))
    assert len(parts) == FEW_FOLDS and said[0].startswith(f"Too little time for 30 folds, so there are {FEW_FOLDS}: they take about")
    parts, said = folds_in_time(rows, 30, Clock(100.0), key(0))
    assert len(parts) == 30 and not said
    assert sorted(np.concatenate([part.asked for part in parts])) == sorted(rows.train)
    assert len(folds_in_time(rows, 4, Clock(1e-6), key(0))[0]) == 4
    found = adapt_columns(houses(tmp_path, rows=40), None, JointSettings(methods={}, folds=30, minutes=1e-6))
    assert found.folds == FEW_FOLDS and any("Too little time for 30 folds" in sentence for sentence in found.details)
