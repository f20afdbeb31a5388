"""The accuracy to expect of all labels, against hand calculation and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.statistics import USUAL_SLOPE, Interval, Slope, expected_accuracy, learning_slope, wilson_interval
from fewtune.statistics.expected import DRAWS, RUNS, SPLITS, STEADY


def test_the_accuracy_is_carried_on_as_by_hand() -> None:
    """6 of 8 right, chance a quarter: 4/6 of the way (5/6 are chance 1/4 to 3/4); its odds grow by (labels)^slope."""
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0.0])
    found = expected_accuracy(right, 0.5, 0.25, Slope(1.0, 0.3), repeats=2)
    steady = (6 + STEADY * 0.625) / (8 + STEADY)
    above = (steady - 0.25) / 0.75
    odds = 2 * above / (1 - above)  # twice the labels, slope 1: twice the odds
    later = odds / (1 + odds)
    mean = 0.75 + 0.75 * (later - above)
    assert found.mean == pytest.approx(mean, abs=1e-12) and found.mean > 0.75
    likely = (8 * mean + 1) / 10
    slope_variance = (0.75 * later * (1 - later) * math.log(2) * 0.3) ** 2
    rows = 1 / ((DRAWS + SPLITS / 2) / 8 + slope_variance / (likely * (1 - likely)))
    for bound in (found.low, found.high):  # Wilson: the bounds p solve (mean - p)^2 = z^2 p (1 - p) / rows
        assert (mean - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / rows, rel=1e-5)
    assert found.low < mean < found.high and (found.n, found.level) == (8, 0.95)


def test_nothing_is_gained_of_all_labels_at_chance_or_by_a_flat_curve() -> None:
    right = np.array([1, 1, 0, 1, 0, 1, 1, 1.0])
    assert expected_accuracy(right, 1.0, 0.5).mean == 0.75
    assert expected_accuracy(right, 0.5, 0.5, Slope(0.0, 0.2)).mean == 0.75
    assert expected_accuracy(np.zeros(40), 0.5, 0.5).mean == 0
    assert expected_accuracy(np.ones(8), 0.5, 0.5).mean == 1
    unsure, sure = (expected_accuracy(right, 0.5, 0.1, Slope(0.5, spread)).half_width for spread in (0.5, 0.01))
    assert unsure > sure


def test_without_a_curve_it_is_wilson_of_the_rows_that_the_variance_leaves() -> None:
    right = np.array([1.0] * 9 + [0.0] * 3)
    found, twelve = expected_accuracy(right, 1.0, 0.5, repeats=10), wilson_interval(9, 12)
    assert found.low < twelve.low < twelve.high < found.high  # DRAWS is above 1
    assert expected_accuracy(np.ones(10), 1.0, 0.5).low < 0.75 and expected_accuracy(np.ones(10), 1.0, 0.5).high == 1


def test_one_training_run_differs_from_the_next_with_many_labels_too() -> None:
    """Eight runs answered the folds, one more is saved: RUNS (1 + 1/8) is left of the variance where rows are very many."""
    right = np.tile([1.0, 1, 1, 0], 25_000)
    found = expected_accuracy(right, 1.0, 0.5, repeats=2, runs=8)
    rows = 1 / ((DRAWS + SPLITS / 2) / 100_000 + RUNS * 9 / 8)
    for bound in (found.low, found.high):
        assert (0.75 - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / rows, rel=1e-5)
    assert found.mean == 0.75 and found.half_width > 10 * expected_accuracy(right, 1.0, 0.5, repeats=2).half_width


def test_what_was_the_best_of_several_counts_less() -> None:
    right = np.array([1.0] * 9 + [0.0] * 3)
    assert expected_accuracy(right, 1.0, 0.5, excess=0.05).mean == pytest.approx(0.70)
    assert expected_accuracy(right, 1.0, 0.5, excess=0.9).mean == 0


def test_the_measured_slope_is_joined_by_its_variance() -> None:
    fewer, more = np.array([0, 0, 1, 1, 0, 1, 0.5, 0.5]), np.array([1, 0, 1, 1, 0.5, 1, 0.5, 1])
    gain = more - fewer
    above = (((4 + 6) / 2 + 1) / 10 - 0.2) / 0.8
    unit = 0.8 * above * (1 - above) * math.log(3)
    measured, variance = gain.mean() / unit, (gain.var(ddof=1) + 1 / 8) / 8 / unit**2
    precision = 1 / 0.2**2 + 1 / variance
    found = learning_slope(fewer, more, 3, 0.2, Slope(0.4, 0.2))
    assert found.value == pytest.approx((0.4 / 0.2**2 + measured / variance) / precision)
    assert found.spread == pytest.approx(precision**-0.5) and found.spread < 0.2


def test_few_rows_say_little_of_the_slope_and_many_say_it_all() -> None:
    random = np.random.default_rng(0)

    def shown(rows: int, gain: float) -> Slope:
        return learning_slope((random.random(rows) < 0.6).astype(float), (random.random(rows) < 0.6 + gain).astype(float), 2, 0.1)

    assert abs(shown(8, 0.0).value - USUAL_SLOPE.value) < 0.15
    many = shown(200_000, 0.05)  # log-odds of (0.65 - 0.1) / 0.9 minus those of (0.6 - 0.1) / 0.9, over log 2
    assert many.value == pytest.approx((math.log(0.55 / 0.35) - math.log(0.5 / 0.4)) / math.log(2), abs=0.04) and many.spread < 0.03
    assert shown(200_000, -0.05).value == 0  # more labels do not make it worse
    assert learning_slope(np.zeros(9), np.zeros(9), 2, 0.5) == USUAL_SLOPE  # below chance nothing is shown


@pytest.mark.parametrize("labels", [2, 5, 16])
@pytest.mark.parametrize("way", [0.1, 0.5, 0.9])
def test_the_interval_holds_a_simulated_truth(labels: int, way: float) -> None:
    """Draws differ in how good their rows are; the folds learn from part of the labels; slopes differ from target to target.

    Ten rows near chance are taken for a little better than they are (STEADY).
    """
    random = np.random.default_rng(labels)
    chance, share, n = 0.2, 1 - 1 / min(labels, 5), 5 * labels
    held, errors = [], []
    for _ in range(600):
        slope = max(0.0, random.normal(USUAL_SLOPE.value, USUAL_SLOPE.spread))
        odds = way / (1 - way) * math.exp(random.normal() * 0.3 / math.sqrt(labels))
        truth = chance + (1 - chance) * odds / (1 + odds)
        before = odds * share**slope
        right = (random.random(n) < chance + (1 - chance) * before / (1 + before)).astype(float)
        found = expected_accuracy(right, share, chance)
        held.append(truth in found)
        errors.append(found.mean - truth)
    assert np.mean(held) >= 0.93
    assert abs(np.mean(errors)) < (0.05 if (labels, way) == (2, 0.1) else 0.02)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("expected correct between 0 and 1", lambda: expected_accuracy([0.5, 2], 0.5, 0.5)),
        ("share above 0", lambda: expected_accuracy([0.5, 1], 0, 0.5)),
        ("share above 0", lambda: expected_accuracy([0.5, 1], 1.1, 0.5)),
        ("at least 1 repeat", lambda: expected_accuracy([0.5, 1], 0.5, 0.5, repeats=0)),
        ("no runs below 0", lambda: expected_accuracy([0.5, 1], 0.5, 0.5, runs=-1)),
        ("chance of at least 0", lambda: expected_accuracy([0.5, 1], 0.5, 1.0)),
        ("2 or more rows", lambda: learning_slope([1.0], [1.0], 2, 0.5)),
        ("2 or more rows", lambda: learning_slope([1.0, 0], [1.0, 0, 0], 2, 0.5)),
        ("ratio above 1", lambda: learning_slope([1.0, 0], [1.0, 0], 1, 0.5)),
    ],
)
def test_what_cannot_be_used_is_refused(words: str, call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=words):
        call()


def test_one_row_says_almost_nothing() -> None:
    found = expected_accuracy([1.0], 0.5, 0.5)
    assert isinstance(found, Interval) and found.low < 0.25 and found.high == 1
