"""Rows with several label columns: features, tasks, folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column
from fewtune.data.reading.columns_said import about, columns_in_words
from fewtune.data.reading.label_table import Wanted, read_label_table
from fewtune.errors import InputError
from fewtune.joint.folds import fold_of_rows
from fewtune.joint.rows import joint_rows
from fewtune.joint.study import compare_columns, compared_methods
from fewtune.joint.ways import fit_head
from fewtune.keys import key
from fewtune.models.joint.model import unit
from fewtune.models.joint.scaling import measured_scaling
from fewtune.parts.heads import Logistic, MultiLogistic, Ridge
from tests.unit.joint.grounds import houses


def test_features_have_one_scale_over_the_rows_to_learn_from(tmp_path: Path) -> None:
    rows = joint_rows(houses(tmp_path, split=True), None)
    mine = rows.features[rows.train].double()
    torch.testing.assert_close(mine.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(mine.std(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)
    assert not np.isin(rows.train, rows.test).any() and len(rows.test) and len(rows.train) > len(rows.test)


def test_a_missing_number_is_the_mean_and_has_a_flag() -> None:
    numbers = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 7.0], [100.0, np.nan]])
    scaling = measured_scaling(torch.zeros(4, 0), numbers, np.arange(3))
    assert scaling.flagged == (1,) and scaling.fill.tolist() == [3.0, 6.0]
    found = scaling(torch.zeros(4, 0), numbers).double().numpy()
    whole = np.array([[1.0, 5, 0], [3, 6, 1], [5, 7, 0], [100, 6, 1]])
    np.testing.assert_allclose(found, (whole - whole[:3].mean(0)) / whole[:3].std(0), rtol=1e-6)


def test_a_number_that_is_missing_in_new_rows_alone_is_the_mean() -> None:
    scaling = measured_scaling(torch.zeros(3, 0), np.array([[1.0], [2.0], [3.0]]), np.arange(3))
    assert scaling(torch.zeros(1, 0), np.array([[np.nan]])).tolist() == [[0.0]]


def test_a_constant_feature_says_nothing() -> None:
    scaling = measured_scaling(torch.ones(3, 2) * 1e4, np.zeros((3, 0)), np.arange(3))
    assert scaling(torch.full((1, 2), 7.0), np.zeros((1, 0))).tolist() == [[0.0, 0.0]]


def test_a_number_of_any_unit_is_a_feature() -> None:
    """Nanometres in metres, and seconds since 1970 within an hour; a number that does not vary is 0."""
    random = np.random.default_rng(0)
    given = np.stack([1e-9 * random.normal(size=50), 1.7e9 + 3600 * random.random(50), np.full(50, 1e-7)], axis=1)
    features = measured_scaling(torch.zeros(50, 0), given, np.arange(50))(torch.zeros(50, 0), given).double().numpy()
    np.testing.assert_allclose(features[:, :2], ((given - given.mean(0)) / given.std(0))[:, :2], atol=1e-5)
    assert (features[:, 2] == 0).all()


def test_a_far_number_stays_finite() -> None:
    given = np.array([[1.0], [2.0], [3.0]])
    scaling = measured_scaling(torch.zeros(3, 0), given, np.arange(3))
    assert scaling(torch.zeros(2, 0), np.array([[1e100], [-1e100]])).tolist() == [[1e9], [-1e9]]
    assert scaling(torch.zeros(1, 0), np.array([[1e6]])).item() == pytest.approx((1e6 - 2) / np.sqrt(2 / 3))


def test_numbers_that_hardly_differ_are_one_label(tmp_path: Path) -> None:
    table = houses(tmp_path)
    price = table.examples.columns["price"]
    for size, same in ((1e-101, True), (1e-97, False)):
        columns = {**table.examples.columns, "price": replace(price, values=price.values / 50 * size)}
        given = replace(table, examples=replace(table.examples, columns=columns))
        if same:
            with pytest.raises(InputError, match="'price' has the same label in all"):
                joint_rows(given, None)
        else:
            assert joint_rows(given, None).tasks[0].scale[1] > 0


def test_each_fold_has_its_share_of_every_label(tmp_path: Path) -> None:
    rows = joint_rows(houses(tmp_path, rows=200), None)
    fold = fold_of_rows(rows, 5, key(0))
    assert (fold[rows.train] >= 0).all() and (fold[np.setdiff1d(np.arange(200), rows.train)] == -1).all()
    for task in rows.tasks:
        sizes = np.bincount(fold[task.train], minlength=5)
        assert sizes.min() >= 0.6 * sizes.mean()
    again = fold_of_rows(rows, 5, key(0))
    assert (fold == again).all() and (fold != fold_of_rows(rows, 5, key(1))).any()


def test_copies_of_a_row_are_in_one_fold(tmp_path: Path) -> None:
    rows = joint_rows(houses(tmp_path), None)
    doubled = rows.features.clone()
    doubled[rows.train[1::2]] = doubled[rows.train[0::2]][: len(rows.train[1::2])]
    fold = fold_of_rows(replace(rows, features=doubled), 4, key(0))
    pairs = zip(rows.train[0::2], rows.train[1::2], strict=False)
    assert all(fold[a] == fold[b] for a, b in pairs)


def test_a_head_is_fitted_on_the_labelled_rows_of_its_task_alone(tmp_path: Path) -> None:
    rows = joint_rows(houses(tmp_path), None)
    x = unit(rows.features).double().numpy()
    price, kind, tags = rows.tasks
    mine = price.train[:50]
    found = fit_head(rows, price, Ridge(penalty=0.5, normalize=False, intercept=True), mine).outputs(rows.features)
    theirs = SklearnRidge(alpha=0.5).fit(x[mine], price.targets(mine)).predict(x)
    np.testing.assert_allclose(found[:, 0], theirs.ravel(), atol=1e-4)
    known = kind.train[:50]
    logits = fit_head(rows, kind, Logistic(C=2.0, normalize=False), known).outputs(rows.features)
    model = LogisticRegression(C=2.0, tol=1e-9, max_iter=1000).fit(x[known], kind.column.values[known])
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], model.decision_function(x), atol=1e-3)
    several = fit_head(rows, tags, MultiLogistic(C=2.0, normalize=False), tags.train).outputs(rows.features)
    for label in range(2):
        model = LogisticRegression(C=2.0, tol=1e-9, max_iter=1000).fit(x[tags.train], tags.column.values[tags.train, label])
        np.testing.assert_allclose(several[:, label], model.decision_function(x), atol=1e-3)


def test_columns_with_nothing_to_learn_are_said(tmp_path: Path) -> None:
    table = houses(tmp_path)
    columns = dict(table.examples.columns)
    price = columns["price"]
    same = replace(table, examples=replace(table.examples, columns={**columns, "price": replace(price, values=price.values * 0)}))
    with pytest.raises(InputError, match="'price' has the same label in all"):
        joint_rows(same, None)
    few = price.values.copy()
    few[3:] = np.nan
    with pytest.raises(InputError, match=r"'price' has \d labelled rows: expected 4 or more"):
        joint_rows(replace(table, examples=replace(table.examples, columns={**columns, "price": replace(price, values=few)})), None)


def test_what_was_read_in_words(tmp_path: Path) -> None:
    said = columns_in_words(houses(tmp_path, missing=0.0))
    assert said[0] == "houses: 80 rows; numbers among its inputs: size, age."
    assert said[1].startswith("  price: a number, ") and said[2].startswith("  kind: one of two (big, small); 80 rows labelled.")
    assert said[3].startswith("  tags: several of 2 labels (cheap, old)")
    assert about(Column("multi", np.ones((2, 1)), ("old",))) == "old or not"


def test_a_method_that_trains_the_backbone_is_compared(tmp_path: Path) -> None:
    """On photos: the backbone's weights move, and the answers are those of the moved ones."""
    random = np.random.default_rng(0)
    pictures, size = [], random.random(24)
    for number, bright in enumerate(size):
        path = tmp_path / f"{number}.png"
        Image.fromarray((random.random((16, 16, 3)) * 40 + 200 * bright).astype(np.uint8)).save(path)
        pictures.append(f"{path.name},{bright:.4f},{'light' if bright > 0.5 else 'dark'}")
    (tmp_path / "t.csv").write_text("path,bright,side\n" + "\n".join(pictures) + "\n")
    table = read_label_table(tmp_path / "t.csv", Wanted(labels=("bright", "side")))
    backbone = load_backbone("conv4,size=16,width=4")
    methods = compared_methods(["shared_bottom(steps=2)", 'shared_bottom(steps=2, moves="all")'])
    found = compare_columns(table, backbone, methods)
    assert [one.method for one in found.results[::2]] == list(methods) and found.visits[found.methods[1]] > 0
    with pytest.raises(InputError, match='moves="all" trains the backbone, but this table has none with weights'):
        compare_columns(houses(tmp_path), None, methods)
