"""The estimators of numbers and of several outputs."""

from __future__ import annotations

import pickle

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score

import fewtune
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
    with pytest.raises(InputError, match="expected a row of labels for each of 5 rows"):
        fewtune.FewShotMultiOutput().fit(np.zeros((5, 2)), [["a"], ["b", "c"], ["a"], ["b"], ["a"]])
    with pytest.raises(InputError, match="has the same label in all 6 labelled rows"):
        fewtune.FewShotRegressor().fit(np.random.default_rng(0).normal(size=(6, 2)), np.ones(6))
    with pytest.raises(InputError, match="unknown kind 'number'"):
        fewtune.FewShotMultiOutput(kinds=["number"]).fit(np.zeros((4, 2)), [["a"], ["b"], ["a"], ["b"]])
