"""Metrics against scikit-learn and scipy, on random answers with missing truth, ties and classes that are absent."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as theirs

from fewtune.statistics import METRICS, default_metric

CLASS = [name for name, metric in METRICS.items() if "class" in metric.kinds]
MULTI = [name for name, metric in METRICS.items() if "multi" in metric.kinds]
FLOAT = [name for name, metric in METRICS.items() if "float" in metric.kinds]


def class_case(seed: int, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties [N, K] and classes [N], some missing and some classes perhaps absent."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(least, 40)), int(rng.integers(2, 6))
    chance = rng.integers(1, 5, (n, k)).astype(float)
    return chance / chance.sum(1, keepdims=True), rng.integers(-1, int(rng.integers(1, k + 1)), n)


def multi_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    truth = (rng.random(shape) < rng.choice([0.1, 0.5, 1.0])).astype(float)
    truth[rng.random(shape) < rng.choice([0.0, 0.3])] = np.nan
    return rng.integers(0, 5, shape) / 4, truth


def number_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 40))
    truth = rng.integers(0, 6, n) * 0.7
    truth[rng.random(n) < 0.2] = np.nan
    return rng.integers(0, 6, n) * 0.9 - 1, truth


def over_columns(one: object, holds: np.ndarray, chance: np.ndarray, needs: object) -> float:
    """The mean of a metric of scikit-learn over the columns for which `needs` says it has a value; NaN where there is none."""
    known = [~np.isnan(h) for h in holds.T]
    found = [one(h[k], c[k]) for h, c, k in zip(holds.T, chance.T, known, strict=True) if needs(h[k])]  # type: ignore[operator]
    return float(np.mean(found)) if found else math.nan


def of_classes(name: str, chance: np.ndarray, truth: np.ndarray) -> float:
    said, every = chance.argmax(1), np.arange(chance.shape[1])
    one_hot = (truth[:, None] == every).astype(float)
    references = {
        "accuracy": lambda: theirs.accuracy_score(truth, said),
        "balanced_accuracy": lambda: theirs.balanced_accuracy_score(truth, said),
        "macro_f1": lambda: theirs.f1_score(truth, said, average="macro", zero_division=0),
        "micro_f1": lambda: theirs.f1_score(truth, said, average="micro", zero_division=0),
        "mcc": lambda: theirs.matthews_corrcoef(truth, said),
        "log_loss": lambda: theirs.log_loss(truth, chance, labels=every),
        "auc": lambda: over_columns(theirs.roc_auc_score, one_hot, chance, lambda h: 0 < h.mean() < 1),
        "average_precision": lambda: over_columns(theirs.average_precision_score, one_hot, chance, lambda h: h.any()),
    }
    return float(references[name]())


@pytest.mark.parametrize("name", CLASS)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_classes_as_scikit_learn(name: str, seed: int) -> None:
    chance, truth = class_case(seed)
    known = truth >= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = of_classes(name, chance[known], truth[known]) if known.any() else math.nan
    assert METRICS[name].of(chance, truth) == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", MULTI)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_several_labels_as_scikit_learn(name: str, seed: int) -> None:
    chance, truth = multi_case(seed)
    known = ~np.isnan(truth)
    clipped = np.clip(chance, np.finfo(float).eps, 1)
    labels = range(truth.shape[1])
    said = [chance[known[:, j], j] >= 0.5 for j in labels]
    true = [truth[known[:, j], j] for j in labels]
    references = {
        "macro_f1": lambda: np.mean([theirs.f1_score(t, s, zero_division=0) if len(t) else 0.0 for t, s in zip(true, said, strict=True)]),
        "micro_f1": lambda: theirs.f1_score(np.concatenate(true), np.concatenate(said), zero_division=0),
        "log_loss": lambda: theirs.log_loss(truth[known], clipped[known], labels=[0, 1]),
        "auc": lambda: over_columns(theirs.roc_auc_score, truth, chance, lambda h: len(h) > 0 and 0 < h.mean() < 1),
        "average_precision": lambda: over_columns(theirs.average_precision_score, truth, chance, lambda h: h.any()),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = float(references[name]()) if known.any() else math.nan
    assert METRICS[name].of(chance, truth) == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", FLOAT)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_numbers_as_scikit_learn_and_scipy(name: str, seed: int) -> None:
    predicted, truth = number_case(seed)
    known = ~np.isnan(truth)
    p, t = predicted[known], truth[known]
    same = len(t) == 0 or t.min() == t.max()
    references = {
        "r2": lambda: math.nan if same else theirs.r2_score(t, p),
        "rmse": lambda: theirs.root_mean_squared_error(t, p),
        "mae": lambda: theirs.mean_absolute_error(t, p),
        "spearman": lambda: math.nan if same or p.min() == p.max() else stats.spearmanr(p, t).statistic,
    }
    expected = float(references[name]()) if len(t) else math.nan
    assert METRICS[name].of(predicted, truth) == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_known_is_nan(name: str) -> None:
    cases = {
        "class": (np.full((3, 2), 0.5), np.full(3, -1)),
        "float": (np.zeros(3), np.full(3, np.nan)),
        "multi": (np.zeros((3, 2)), np.full((3, 2), np.nan)),
    }
    for kind in METRICS[name].kinds:
        prediction, truth = cases[kind]
        assert math.isnan(METRICS[name].of(prediction, truth))
        assert math.isnan(METRICS[name].of(prediction[:0], truth[:0]))


def test_one_class_alone_and_constant_answers() -> None:
    chance, one = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0])
    found = {name: METRICS[name].of(chance, one) for name in CLASS}
    assert found["accuracy"] == found["balanced_accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert (found["mcc"], found["average_precision"]) == (0.0, 1.0)
    assert math.isnan(found["auc"])
    assert METRICS["auc"].of(np.full((4, 2), 0.5), [0, 1, 1, 1]) == 0.5
    assert METRICS["average_precision"].of(np.full((4, 2), 0.5), [0, 1, 1, 1]) == 0.5  # the mean of 1/4 and 3/4
    assert math.isnan(METRICS["r2"].of([1.0, 2.0], [3.0, 3.0]))
    assert METRICS["r2"].of([2.0, 2.0], [1.0, 3.0]) == 0.0
    assert METRICS["macro_f1"].of(np.full((2, 2), 0.1), np.zeros((2, 2))) == 0.0


def test_two_classes_have_the_area_of_the_second() -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.random(50), rng.integers(0, 2, 50)
    expected = theirs.roc_auc_score(truth, p)
    assert METRICS["auc"].of(np.stack([1 - p, p], 1), truth) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "kind"), [("accuracy", "class"), ("micro_f1", "class"), ("log_loss", "class"), ("mae", "float")])
def test_contributions_are_the_metric_row_by_row(name: str, kind: str) -> None:
    prediction, truth = class_case(5, 20) if kind == "class" else number_case(5)
    each = METRICS[name].contributions(prediction, truth)
    assert each is not None
    missing = truth == -1 if kind == "class" else np.isnan(truth)
    assert missing.any()
    assert np.array_equal(np.isnan(each), missing)
    assert np.nanmean(each) == pytest.approx(METRICS[name].of(prediction, truth), rel=1e-12)
    for row in np.flatnonzero(~missing)[:5]:
        assert each[row] == pytest.approx(METRICS[name].of(prediction[row : row + 1], truth[row : row + 1]))


def test_no_contributions_where_a_metric_is_no_mean_over_rows() -> None:
    for name in ("balanced_accuracy", "macro_f1", "mcc", "auc", "average_precision"):
        assert METRICS[name].contributions(*class_case(5)) is None
    assert METRICS["log_loss"].contributions(*multi_case(5)) is None
    assert METRICS["rmse"].contributions(*number_case(5)) is None


def test_the_default_of_each_kind() -> None:
    assert [default_metric(kind).name for kind in ("class", "float", "multi")] == ["accuracy", "r2", "average_precision"]
    assert default_metric("class", balanced=True).name == "balanced_accuracy"


def test_a_gain_is_above_0_where_the_first_is_better() -> None:
    assert METRICS["mae"].gain(1.0, 3.0) == 2.0
    assert METRICS["r2"].gain(0.5, 0.25) == 0.25


@pytest.mark.parametrize(
    ("name", "prediction", "truth", "words"),
    [
        ("accuracy", np.zeros((3, 2)), [0, 1, 2], "integers from 0 to 1"),
        ("accuracy", np.zeros((3, 2)), [0.0, 1.0, 1.0], "integers from 0 to 1"),
        ("accuracy", np.zeros(3), np.zeros(3), 'kind "class"'),
        ("balanced_accuracy", np.zeros((3, 2)), np.zeros((3, 2)), 'kind "class"'),
        ("mcc", np.zeros((3, 2)), np.zeros((3, 2)), 'kind "class"'),
        ("accuracy", np.full((2, 2), np.nan), [0, 1], "finite predictions"),
        ("accuracy", np.zeros((2, 0)), [-1, -1], "at least one class"),
        ("r2", np.zeros((3, 2)), [0, 1, 1], 'kind "float"'),
        ("r2", [1.0, math.inf], [1.0, 2.0], "finite predictions"),
        ("r2", [1.0, 1.0], [1.0, math.inf], "finite truth"),
        ("auc", np.zeros((3, 2)), np.full((3, 2), 0.5), "labels of 0 or 1"),
        ("auc", np.zeros((3, 2)), np.zeros(2), "expected predictions"),
        ("auc", np.zeros((3, 2, 1)), np.zeros(3), "expected predictions"),
    ],
)
def test_bad_input_is_refused(name: str, prediction: object, truth: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        METRICS[name].of(prediction, truth)  # type: ignore[arg-type]


def test_answers_to_rows_without_truth_may_be_anything() -> None:
    assert METRICS["accuracy"].of([[0.0, 1.0], [math.nan, math.nan]], [1, -1]) == 1.0
    assert METRICS["mae"].of([1.0, math.nan], [2.0, math.nan]) == 1.0
    assert METRICS["micro_f1"].of([[1.0, math.nan]], [[1.0, math.nan]]) == 1.0
