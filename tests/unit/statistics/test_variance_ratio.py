"""Within- over between-class variance, by hand and against scikit-learn's index made of the same two numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score

from fewtune.statistics import variance_ratio


def test_by_hand() -> None:
    """Classes at 0 and 4 with two rows each, one unit from their mean: 4 within, 4 x 2^2 between."""
    x = [[-1.0, 0.0], [1.0, 0.0], [4.0, -1.0], [4.0, 1.0]]
    assert variance_ratio(x, [0, 0, 1, 1]) == pytest.approx(4 / 16)
    assert variance_ratio(x, ["b", "b", "a", "a"]) == pytest.approx(4 / 16)


def test_the_index_of_calinski_and_harabasz_is_made_of_it() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 60)
    x = random.normal(size=(60, 5)) + random.normal(size=(4, 5))[labels]
    expected = (60 - 4) / ((4 - 1) * calinski_harabasz_score(x, labels))
    assert variance_ratio(x, labels) == pytest.approx(expected, rel=1e-12)
    assert variance_ratio(7 * x + 3, labels) == pytest.approx(expected, rel=1e-9)


def test_rows_and_classes_without_spread() -> None:
    assert variance_ratio([[1.0], [1.0], [2.0], [2.0]], [0, 0, 1, 1]) == 0
    assert variance_ratio([[-1.0], [1.0], [-1.0], [1.0]], [0, 0, 1, 1]) == math.inf
    assert math.isnan(variance_ratio([[1.0], [1.0]], [0, 1]))


@pytest.mark.parametrize(("x", "y"), [([[1.0], [2.0]], [0, 0]), ([[1.0], [2.0]], [0, 1, 1]), ([1.0, 2.0], [0, 1])])
def test_what_cannot_be_is_refused(x: list[float], y: list[int]) -> None:
    with pytest.raises(ValueError, match=r"two classes|a label for each row"):
        variance_ratio(x, y)
