"""Accuracy by group: by hand, and its interval beside a bootstrap within the groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.statistics import accuracy_by_group, wilson_interval


def test_by_hand() -> None:
    right = [1, 1, 1, 0, 1, 0, 0, 0, 0, 1]
    group = [2, 2, 2, 2, 0, 0, 0, 0, 0, -1]
    found = accuracy_by_group(right, group, ["art", "empty", "photo"])
    assert found is not None
    assert dict(found.each) == {"art": wilson_interval(1, 5), "photo": wilson_interval(3, 4)}  # the row of no group is in none
    assert found.worst == "art" and found.lowest.mean == 0.2
    half = 1.959963984540054 * math.sqrt(0.2 * 0.8 / 4 + 0.75 * 0.25 / 3) / 2
    assert found.mean.mean == pytest.approx((0.2 + 0.75) / 2) and found.mean.n == 9
    assert (found.mean.low, found.mean.high) == pytest.approx((0.475 - half, 0.475 + half))


def test_the_interval_of_the_mean_is_that_of_rows_drawn_anew_within_groups() -> None:
    random = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [400, 60, 120])
    right = random.random(len(group)) < np.array([0.9, 0.4, 0.6])[group]
    found = accuracy_by_group(right, group, "abc")
    assert found is not None
    parts = [right[group == g] for g in range(3)]
    means = [np.mean([random.choice(mine, len(mine)).mean() for mine in parts]) for _ in range(4000)]
    assert (found.mean.low, found.mean.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_one_group_is_no_comparison_and_one_row_has_no_spread() -> None:
    assert accuracy_by_group([1, 0], [0, 0], ["a", "b"]) is None
    assert accuracy_by_group([1, 0], [-1, -1], []) is None
    found = accuracy_by_group([1, 0, 1], [0, 1, 1], ["a", "b"])
    assert found is not None and found.mean.mean == 0.75 and math.isnan(found.mean.low)
    with pytest.raises(ValueError, match="a group for each of 2 rows"):
        accuracy_by_group([1, 0], [0], ["a"])
