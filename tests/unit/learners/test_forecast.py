"""Forecasts: the curve is that of its folds, what is said of more labels comes true where there are more, and silence in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fewtune.keys import key
from fewtune.learners.folds import stratified_splits
from fewtune.learners.forecast import Forecast, forecast
from fewtune.learners.labelled import Labelled
from fewtune.learning.method import Method
from fewtune.learning.on_features import correct_on_table
from fewtune.recipes.frozen import centroid, logistic, zero_shot
from fewtune.statistics import wilson_interval

Integers = NDArray[np.int64]


def clouds(ways: int, shots: int, seed: int, spread: float = 1.5) -> tuple[torch.Tensor, Integers]:
    """Classes about the unit vectors of a space of 24 dimensions, that a nearest centroid learns slowly."""
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(ways), shots)
    return torch.from_numpy((3 * np.eye(ways, 24)[y] + spread * random.normal(size=(len(y), 24))).astype(np.float32)), y


def told(x: torch.Tensor, y: Integers, method: Method | None = None, **options: int) -> Forecast | None:
    return forecast(method or centroid(), Labelled(x, np.arange(len(y)), y, int(y.max()) + 1), vectors=lambda _: None, **options)


@pytest.mark.parametrize("seed", range(3))
def test_what_it_says_comes_true(seed: int) -> None:
    """From 10 labels a class, the accuracy with 20 and with 40, measured on 200 further rows a class."""
    x, y = clouds(6, 10, seed)
    found = told(x, y, seed=seed)
    assert found is not None and [n for n, _ in found.ahead] == [20, 40]
    np.testing.assert_allclose(found.shots, [1, 2, 4, 8])
    assert found.accuracy[-1] > found.accuracy[0] + 0.1 and (found.low <= found.accuracy).all() and (found.accuracy <= found.high).all()
    test, label = clouds(6, 200, 1000 + seed)
    for shots, expected in found.ahead:
        more, _ = clouds(6, int(shots), 2000 + seed)
        means = torch.nn.functional.normalize(torch.nn.functional.normalize(more, dim=1).view(6, int(shots), -1).mean(1), dim=1)
        right = float(((test @ means.T).argmax(1).numpy() == label).mean())
        assert right in expected and expected.low >= 0 and expected.high <= 1
    assert found.grid[0] == found.shots[0] and found.grid[-1] == pytest.approx(40)
    assert (np.diff(found.curve) >= 0).all() and (found.curve_low <= found.curve).all() and (found.curve <= found.curve_high).all()
    twice = found.ahead[0][1]
    assert found.sentence.startswith(f"With twice the labels (20 a class) expect about {100 * twice.mean:.0f}% ({100 * twice.low:.0f} to ")
    assert "an extrapolation of the learning curve over 1 to 8 labels a class" in found.sentence


def test_the_end_of_the_curve_is_the_whole_training_folds() -> None:
    x, y = clouds(4, 6, 0)
    found = told(x, y, logistic(), seed=3)
    assert found is not None
    splits = stratified_splits(np.arange(24), y, 4, key(3, "forecast"), folds=5, repeats=5)
    assert splits.episodes is not None
    hit = correct_on_table(logistic().head, x, splits.episodes).numpy()
    inside = splits.episodes.query.numpy() >= 0
    times = np.bincount(splits.episodes.query.numpy()[inside], minlength=24)
    mean = np.bincount(splits.episodes.query.numpy()[inside], weights=hit[inside], minlength=24) / times
    assert found.accuracy[-1] == pytest.approx(mean.mean()) and found.shots[-1] == pytest.approx(24 * 0.8 / 4)
    assert list(found.shots[:-1]) == [1, 2, 4]


def test_it_is_a_function_of_the_seed_and_not_of_how_rows_are_numbered() -> None:
    x, y = clouds(4, 8, 0)
    first, again, other = (told(x, y, seed=s) for s in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first.curve_low, again.curve_low)
    assert first.sentence == again.sentence and not np.array_equal(first.accuracy, other.accuracy)
    moved = torch.full((100, 24), float("nan"))
    rows = np.arange(50, 50 + len(y))
    moved[rows] = x
    shifted = forecast(centroid(), Labelled(moved, rows, y, 4), vectors=lambda _: None)
    assert shifted is not None
    np.testing.assert_array_equal(shifted.accuracy, first.accuracy)


def test_small_classes_keep_what_they_have() -> None:
    x, y = clouds(3, 20, 0)
    kept = np.concatenate([np.arange(0, 20), np.arange(20, 25), np.arange(40, 41)])  # 20, 5 and 1 rows
    found = told(x[kept], y[kept])
    assert found is not None
    np.testing.assert_allclose(found.shots[:3], [1, 5 / 3, 3], atol=0.05)  # (1 + 1 + 1), (2 + 2 + 1), (4 + 4 + 1) rows for three classes
    assert found.ahead[0][0] == pytest.approx(2 * 26 / 3)


def test_flat_curves_say_so() -> None:
    easy = told(*clouds(4, 8, 0, spread=0.05))
    assert easy is not None and "flat" in easy.sentence and "100%" in easy.sentence
    x, y = clouds(4, 8, 0)
    vectors = torch.eye(4, 24)
    blind = forecast(zero_shot(), Labelled(x, np.arange(32), y, 4), vectors=lambda _: vectors)  # does not look at the labels
    assert blind is not None and "More labels may not help" in blind.sentence
    assert blind.ahead[0][1].mean == pytest.approx(blind.accuracy[0])


def test_few_rows_in_a_noisy_space_cannot_tell() -> None:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(2), 5)
    x = torch.from_numpy((np.eye(2, 24)[y] + 0.9 * random.normal(size=(10, 24))).astype(np.float32))
    found = told(x, y)
    assert found is not None and found.accuracy[-1] == 1 and found.ahead[0][1].mean > 0.99
    assert found.ahead[0][1].low < 0.75  # ten right of ten: Wilson's interval begins at 0.72
    x = torch.from_numpy((np.eye(2, 24)[y] + 1.2 * random.normal(size=(10, 24))).astype(np.float32))
    found = told(x, y)
    assert found is not None and ("cannot be told" in found.sentence or "may not help" in found.sentence)


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_too_few_labels_for_a_curve(shots: int) -> None:
    x, y = clouds(5, shots, 0)
    assert told(x, y) is None
    assert told(*clouds(5, 4, 0)) is not None


def test_bounds_lie_half_as_far_again_as_those_of_the_law() -> None:
    """What was measured of them (see WIDER); never nearer than those of a proportion of as many rows."""
    x, y = clouds(6, 10, 1)
    found = told(x, y, seed=1)
    assert found is not None
    wider = 0
    for labels, accuracy in found.ahead:
        error = found.law.at(labels)
        least = wilson_interval(accuracy.mean * error.n, error.n)
        low, high = accuracy.mean - 1.5 * (error.high - error.mean), accuracy.mean + 1.5 * (error.mean - error.low)
        assert accuracy.mean == pytest.approx(1 - error.mean)
        assert accuracy.low == pytest.approx(max(0, min(low, least.low))) and accuracy.high == pytest.approx(min(1, max(high, least.high)))
        wider += low < least.low
    assert wider  # the law's own bounds, moved out, are what counts
