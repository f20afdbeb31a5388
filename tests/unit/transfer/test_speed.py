"""Speed of learning curves: by hand, and that speed does not speak of height."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune import InputError
from fewtune.transfer import convergence, steps_to


def test_the_first_crossing_on_straight_lines() -> None:
    assert steps_to([0, 10, 30], [0.0, 0.4, 0.8], 0.6) == pytest.approx(20)
    assert steps_to([0, 10, 30], [0.0, 0.9, 0.2], 0.9) == pytest.approx(10)  # it counts although the curve falls again
    assert steps_to([5, 10], [0.5, 0.6], 0.5) == 5 and steps_to([5, 10], [0.5, 0.6], 0.7) == math.inf


def test_a_share_of_the_way_from_chance() -> None:
    found = convergence([0, 10, 20, 40], [0.1, 0.3, 0.5, 0.5], share=0.75, chance=0.1)
    assert found.final.mean == 0.5 and found.level == pytest.approx(0.4) and found.steps.mean == pytest.approx(15)
    assert math.isnan(found.steps.low) and math.isnan(found.final.high)
    assert convergence([0, 10, 20], [0.2, 0.6, 0.4], share=1.0, tail=2).level == pytest.approx(0.5)


def test_speed_does_not_speak_of_height() -> None:
    steps = np.arange(0, 100, 10)
    curve = 1 - np.exp(-steps / 30)
    high, low = (convergence(steps, height * curve) for height in (0.9, 0.3))
    assert high.steps.mean == pytest.approx(low.steps.mean) and high.final.mean == pytest.approx(3 * low.final.mean)


def test_the_intervals_are_those_of_a_bootstrap_over_rows() -> None:
    """Row n becomes right at step n + 1, so accuracy is linear: half of it is reached halfway; its bootstrap spread is known."""
    rows, steps = 400, np.arange(0, 401, 20)
    right = steps[:, None] > np.arange(rows)[None]
    found = convergence(steps, right, share=0.5, resamples=800)
    assert found.final.low == found.final.high == 1 and found.final.n == rows
    assert found.steps.mean == pytest.approx(200, abs=1)
    half = (found.steps.high - found.steps.low) / 2  # the median of 400 uniform steps: 1.96 * 400 * .5 / sqrt(400) = 19.6
    assert half == pytest.approx(19.6, rel=0.15) and found.steps.low < 200 < found.steps.high


def test_odd_input() -> None:
    with pytest.raises(InputError, match="steps of a curve rise"):
        convergence([0, 0], [0.1, 0.2])
    with pytest.raises(InputError, match="share above 0"):
        convergence([0, 1], [0.1, 0.2], share=0)
    with pytest.raises(InputError, match="values for each of 2 steps"):
        convergence([0, 1], [0.1])
    with pytest.raises(InputError, match="one accuracy for each"):
        steps_to([0, 1], np.zeros((2, 3)), 0.5)


def test_the_whole_of_the_way_is_reached_where_the_curve_ends() -> None:
    """chance + (final - chance) is above the final accuracy by rounding, as is the mean of three equal numbers."""
    for final in range(101):
        for chance in range(0, final + 1, 5):
            found = convergence([0, 10, 20, 30], [chance / 100, *[final / 100] * 3], share=1.0, chance=chance / 100, tail=3)
            assert found.steps.mean == (0 if chance == final else 10)


def test_a_curve_with_a_gap_is_refused() -> None:
    for steps, accuracy in (([0, 1, 2], [0.1, np.nan, 0.5]), ([0, np.nan, 2], [0.1, 0.2, 0.5])):
        with pytest.raises(InputError, match="finite numbers"):
            convergence(steps, accuracy)
