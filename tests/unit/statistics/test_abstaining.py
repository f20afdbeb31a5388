"""Coverage, thresholds, sets and unlike rows: by hand, and by simulation of what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.statistics import abstention_threshold, coverage_curve, least_probability, unlike


def test_coverage_by_hand() -> None:
    made = coverage_curve([0.5, 0.9, 0.9, 0.7], [True, True, False, True])
    assert made.share.tolist() == [0.5, 0.75, 1.0] and made.least.tolist() == [0.9, 0.7, 0.5]
    np.testing.assert_allclose(made.accuracy, [0.5, 2 / 3, 0.75])
    heavy = coverage_curve([0.5, 0.9], [False, True], [3, 1])
    assert heavy.share.tolist() == [0.25, 1.0] and heavy.accuracy.tolist() == [1.0, 0.25]
    for wrong in (([], []), ([0.5], [True, False])):
        with pytest.raises(ValueError, match="same length"):
            coverage_curve(*wrong)


def test_the_threshold_by_hand() -> None:
    """Six wrong answers below, and right ones above with a single mistake."""
    sure = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.55, 0.6, 0.7, 0.8, 0.9]
    right = [False] * 6 + [True, True, False, True, True]
    assert abstention_threshold(sure, right) == pytest.approx(0.5)
    order = np.random.default_rng(0).permutation(11)
    assert abstention_threshold(np.array(sure)[order], np.array(right)[order]) == pytest.approx(0.5)
    assert abstention_threshold(sure[3:], right[3:]) == 0  # three wrong ones could be chance
    assert abstention_threshold(sure[2:], right[2:]) == pytest.approx(0.5)  # four could not
    assert abstention_threshold(sure, [True] * 11) == 0
    assert abstention_threshold([0.5] * 6, [False] * 6) == 0.75  # all wrong: above them all
    assert abstention_threshold(sure, right, np.full(11, 0.5)) == 0  # the same, each row answered twice


def test_sets_by_hand() -> None:
    """k = floor((1 - level) (rows + 1)) of the smallest."""
    true = np.arange(1, 20) / 20  # 19 rows
    assert least_probability(true, 0.9) == 0.1 and least_probability(true, 0.95) == 0.05 and least_probability(true, 0.96) == 0
    assert least_probability(np.repeat(true, 3), 0.9, np.full(57, 1 / 3)) == 0.1  # each row answered three times
    for level in (0, 1, 1.5):
        with pytest.raises(ValueError, match="level between 0 and 1"):
            least_probability(true, level)


@pytest.mark.parametrize(("rows", "level"), [(9, 0.9), (19, 0.9), (50, 0.8), (200, 0.95)])
def test_sets_hold_the_true_class_as_often_as_they_promise(rows: int, level: float) -> None:
    """Rows and new rows drawn alike: coverage over draws is within four standard errors of between level and level + 1 / (rows + 1)."""
    random = np.random.default_rng(rows)
    draws = 20_000
    true = random.beta(2, 1, size=(draws, rows + 1))
    held = np.array([new >= least_probability(known, level) for known, new in zip(true[:, :-1], true[:, -1], strict=True)])
    error = 4 * np.sqrt(level * (1 - level) / draws)
    assert level - error <= held.mean() <= level + 1 / (rows + 1) + error


def test_unlike_by_hand() -> None:
    np.testing.assert_allclose(unlike([0.0, 2.0, 2.5, 9.0], [1.0, 2.0, 3.0]), [1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(("rows", "width"), [(19, 2), (40, 3), (120, 5)])
def test_rows_like_the_known_ones_are_seldom_rejected(rows: int, width: int) -> None:
    """At most 5% false rejection, with distances to the nearest neighbour among correlated rows of an ugly distribution."""
    random = np.random.default_rng(width)
    rejected = []
    for _ in range(1500):
        x = random.standard_t(2, size=(rows + 1, width)) + 10 * random.integers(0, 3, size=(rows + 1, 1))
        gap = np.linalg.norm(x[:, None] - x[None], axis=2) + np.where(np.eye(rows + 1, dtype=bool), np.inf, 0)
        rejected.append(unlike(gap[-1, :-1].min(), gap[:-1, :-1].min(1)) <= 0.05)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
    assert np.mean(rejected) >= 0.02  # and not never
