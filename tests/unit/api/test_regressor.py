"""The estimators of numbers and of several outputs."""

from __future__ import annotations

import pickle

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score, r2_score
from sklearn.model_selection import KFold, cross_val_score

import fewtune
from fewtune import FewShotMultiOutput, FewShotRegressor
from fewtune.errors import InputError


def test_numbers_are_regressed_about_as_well_as_by_ridge_cv() -> None:
    X, y = make_regression(120, 10, n_informative=4, noise=10.0, random_state=0)
    ours = cross_val_score(fewtune.FewShotRegressor(), X, y, cv=3).mean()
    theirs = cross_val_score(RidgeCV(np.logspace(-3, 3, 13)), X, y, cv=3).mean()
    assert ours > theirs - 0.01


def test_several_numbers_at_once_are_those_one_by_one() -> None:
    X, y = make_regression(60, 5, n_targets=3, noise=5.0, random_state=1)
    together = fewtune.FewShotRegressor().fit(X, y).predict(X)
    alone = [fewtune.FewShotRegressor().fit(X, y[:, place]).predict(X) for place in range(3)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1), rtol=1e-6, atol=1e-5)
    assert together.shape == (60, 3) and alone[0].shape == (60,)


def test_it_is_cloned_and_pickled() -> None:
    X, y = make_regression(40, 5, random_state=2)
    fitted = fewtune.FewShotRegressor(seed=3).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert clone(fitted).get_params() == fitted.get_params()


def test_columns_of_every_kind(rows: int = 80) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, 3))
    y = pandas.DataFrame(
        {
            "side": np.where(X[:, 0] > 0, "right", "left"),
            "size": 2 * X[:, 1] + 0.1,
            "tags": ["|".join(n for n, v in zip("ab", row[1:], strict=True) if v > 0) or None for row in X],
        }
    )
    y.loc[3, "side"], y.loc[4, "size"] = None, np.nan
    model = fewtune.FewShotMultiOutput().fit(X, y)
    assert [task.kind for task in model.bundle_.tasks] == ["class", "float", "multi"]
    found = model.predict(X)
    known = y["side"].notna().to_numpy()
    assert found.shape == (rows, 3) and np.mean(found[known, 0] == y["side"][known]) > 0.95
    sizes = y["size"].notna().to_numpy()
    assert np.corrcoef(found[sizes, 1].astype(float), y["size"][sizes])[0, 1] > 0.99
    tagged = [(set(said), set(tags.split("|"))) for said, tags in zip(found[:, 2], y["tags"], strict=True) if isinstance(tags, str)]
    assert np.mean([said == tags for said, tags in tagged]) > 0.7
    shapes = [one.shape for one in model.predict_proba(X)]
    assert shapes == [(rows, 2), (rows, 1), (rows, 2)]
    assert [list(names) for names in model.classes_] == [["left", "right"], [], ["a", "b"]]


def test_wrong_shapes_are_said() -> None:
    with pytest.raises(InputError, match="expected one number, or one row of numbers, for each of 5 rows"):
        fewtune.FewShotRegressor().fit(np.zeros((5, 2)), np.zeros(4))
    for words in (["a"] * 5, [1.0, 2.0, "b", 4.0, 5.0], [1j] * 5, [[1.0], [1.0, 2.0], [3.0], [4.0], [5.0]]):
        with pytest.raises(InputError, match="y is to hold numbers"):
            fewtune.FewShotRegressor().fit(np.zeros((5, 2)), words)
    with pytest.raises(InputError, match="expected a row of labels for each of 5 rows"):
        fewtune.FewShotMultiOutput().fit(np.zeros((5, 2)), [["a"], ["b", "c"], ["a"], ["b"], ["a"]])
    with pytest.raises(InputError, match="has the same label in all 6 labelled rows"):
        fewtune.FewShotRegressor().fit(np.random.default_rng(0).normal(size=(6, 2)), np.ones(6))
    with pytest.raises(InputError, match="unknown kind 'number'"):
        fewtune.FewShotMultiOutput(kinds=["number"]).fit(np.zeros((4, 2)), [["a"], ["b"], ["a"], ["b"]])


def several() -> tuple[np.ndarray, np.ndarray]:
    """Features [60, 4], and a word, a number and a whole number that follow from them [60, 3]."""
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4))
    number = x @ np.array([1.0, 2, 0, 0])
    return x, np.array([["hi" if a > 0 else "lo", float(a), int(a > 1)] for a in number], dtype=object)


def test_classes_come_back_as_they_were_given() -> None:
    x, y = several()
    model = FewShotMultiOutput().fit(x, y)
    said = model.predict(x)
    assert {type(value) for value in said[:, 2]} == {int} and {type(value) for value in said[:, 0]} == {str}
    assert model.classes_[2].tolist() == [0, 1] and np.mean(said[:, 2] == y[:, 2]) > 0.9
    truths = np.array([[bool(a > 0), 2.0 * int(a > 1)] for a in y[:, 1]], dtype=object)
    assert {type(value) for value in FewShotMultiOutput().fit(x, truths).predict(x)[:, 0]} == {bool}


def test_the_score_is_the_mean_over_outputs() -> None:
    x, y = several()
    model, truth = FewShotMultiOutput().fit(x, y), y[:, 1].astype(float)
    said = model.predict(x)
    right = [np.mean(said[:, place] == y[:, place]) for place in (0, 2)]
    assert model.score(x, y) == pytest.approx((right[0] + r2_score(truth, said[:, 1].astype(float)) + right[1]) / 3)
    missing = y.copy()
    missing[:10, 0] = None
    assert model.score(x, missing) == pytest.approx((np.mean(said[10:, 0] == y[10:, 0]) + model.score(x, y) * 3 - right[0]) / 3)
    assert np.isfinite(cross_val_score(FewShotMultiOutput(), x, y, cv=KFold(3))).all()
    tags = [[[name for name, least in (("p", 0), ("q", 1)) if number > least]] for number in truth]
    found = FewShotMultiOutput().fit(x, tags)
    hot = np.array([["p" in row[0], "q" in row[0]] for row in tags])
    theirs = np.mean([average_precision_score(hot[:, label], found.predict_proba(x)[0][:, label]) for label in range(2)])
    assert found.score(x, tags) == pytest.approx(theirs)
    with pytest.raises(InputError, match="leave sample_weight out"):
        model.score(x, y, np.ones(60))  # type: ignore[arg-type]


def test_outputs_that_are_none_are_said() -> None:
    x, y = several()
    with pytest.raises(InputError, match=r"expected a row of labels for each row, \[N, T\]"):
        FewShotMultiOutput().fit(x, y[:, 0])
    with pytest.raises(InputError, match="expected a kind for each of 3 columns of y, found 1"):
        FewShotMultiOutput(kinds=["class"]).fit(x, y)
    for far in (np.inf, -1e101):
        with pytest.raises(InputError, match="y holds a number that is infinite or beyond 1e100"):
            FewShotRegressor().fit(x, np.where(np.arange(60) == 3, far, y[:, 1].astype(float)))
