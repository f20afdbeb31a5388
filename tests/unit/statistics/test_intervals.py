"""Intervals against scipy, published tables, closed forms and simulated coverage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewtune.statistics import (
    Interval,
    bootstrap_interval,
    normal_interval,
    seeds_interval,
    t_interval,
    wilson_interval,
)

REFERENCES = json.loads((Path(__file__).parents[2] / "references" / "statistics.json").read_text(encoding="utf-8"))
INTERVALS = [normal_interval, t_interval, bootstrap_interval]


@pytest.mark.parametrize(("n", "level"), [(2, 0.95), (5, 0.9), (600, 0.99)])
def test_normal_and_t_are_scipys(n: int, level: float) -> None:
    x = np.random.default_rng(n).normal(0.7, 0.1, n)
    normal, t = normal_interval(x, level), t_interval(x, level)
    assert (normal.low, normal.high) == pytest.approx(stats.norm.interval(level, x.mean(), stats.sem(x)), rel=1e-12)
    assert (t.low, t.high) == pytest.approx(stats.t.interval(level, n - 1, x.mean(), stats.sem(x)), rel=1e-12)
    assert (t.n, t.level, t.kind, t.mean) == (n, level, "t", pytest.approx(x.mean(), rel=1e-15))


def test_by_hand() -> None:
    # mean 2, sd 1, so 2 ± t / sqrt(3), and for two degrees of freedom t = a sqrt(2 / (1 - a^2)) = 4.30265
    found = t_interval([1, 2, 3])
    assert found.half_width == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3), rel=1e-12)
    assert 2.0 in found and 5.0 not in found


@pytest.mark.parametrize("interval", INTERVALS)
def test_one_value_has_unknown_bounds(interval: Callable[..., Interval]) -> None:
    found = interval([0.8])
    assert found.mean == 0.8 and found.n == 1 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("n", [2, 7, 600])
def test_constant_values_have_no_width(interval: Callable[..., Interval], n: int) -> None:
    found = interval(np.full(n, 0.1))
    assert found.low == found.mean == found.high == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [0.1, math.nan], [0.1, math.inf], ["a", "b"]])
def test_refuses_what_is_no_sample(interval: Callable[..., Interval], bad: list[object]) -> None:
    with pytest.raises(ValueError, match=r"expected .* found"):
        interval(bad)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, math.nan])
def test_refuses_levels_outside(level: float) -> None:
    with pytest.raises(ValueError, match="level between 0 and 1"):
        t_interval([1, 2], level)


@pytest.mark.parametrize(("ones", "n"), [(3, 10), (7, 12), (400, 600), (37, 2000)])
def test_bootstrap_of_yes_and_no_is_binomial(ones: int, n: int) -> None:
    """Resampled counts are Binomial(n, ones / n) exactly; both ways of resampling (small and large n) must show it."""
    x = np.r_[np.ones(ones), np.zeros(n - ones)]
    for level in (0.8, 0.95):
        found = bootstrap_interval(x, level, resamples=40_000)
        # The bounds are sample quantiles: their true tail lies within 5 standard errors of the one asked for.
        tail = (1 - level) / 2
        slack = 5 * math.sqrt(tail * (1 - tail) / 40_000)
        low, high = stats.binom.ppf([tail - slack, tail + slack], n, ones / n) / n
        assert low - 1e-12 <= found.low <= high + 1e-12
        low, high = stats.binom.ppf([1 - tail - slack, 1 - tail + slack], n, ones / n) / n
        assert low - 1e-12 <= found.high <= high + 1e-12


def test_bootstrap_is_scipys_percentile() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=60)
    ours = bootstrap_interval(x, resamples=50_000, seed=1)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    # The standard error of a 2.5% quantile of 50,000 normal draws is 0.012 sd; four of them, for two estimates.
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=4 * math.sqrt(2) * 0.012 * stats.sem(x))


def test_bootstrap_is_a_function_of_its_seed() -> None:
    x = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(x, seed=3) == bootstrap_interval(x, seed=3) != bootstrap_interval(x, seed=4)


def test_coverage_of_five_values() -> None:
    """What the docstrings promise: at n = 5 the t interval holds its level and the percentile bootstrap does not (about 82%)."""
    draws = np.random.default_rng(0).normal(size=(2_000, 5))
    covered = np.mean([0.0 in t_interval(x) for x in draws])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2_000))
    bootstrapped = np.mean([0.0 in bootstrap_interval(x, resamples=1_000) for x in draws])
    assert bootstrapped == pytest.approx(0.82, abs=4 * math.sqrt(0.82 * 0.18 / 2_000))


def test_coverage_of_the_bootstrap_of_a_test_set() -> None:
    draws = np.random.default_rng(1).random((1_000, 300)) < 0.8
    covered = np.mean([0.8 in bootstrap_interval(x, resamples=500) for x in draws])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_seeds_are_not_episodes() -> None:
    values, seeds = [0.5, 0.7, 0.8, 0.8, 0.9, 0.7], [0, 0, 1, 1, 2, 2]
    found = seeds_interval(values, seeds)
    expected = t_interval([0.6, 0.8, 0.8])
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high), rel=1e-12)
    assert found.n == 3 and found.kind == "t over seeds"


def test_seeds_count_alike_whatever_their_episodes() -> None:
    assert seeds_interval([0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]).mean == pytest.approx(0.5)


def test_one_seed_says_nothing_about_seeds() -> None:
    found = seeds_interval([0.5, 0.6, 0.7], [0, 0, 0])
    assert found.n == 1 and found.mean == pytest.approx(0.6) and math.isnan(found.low)
    with pytest.raises(ValueError, match="one seed for each of 3 values"):
        seeds_interval([0.5, 0.6, 0.7], [0, 0])


@pytest.mark.parametrize("case", REFERENCES["wilson"]["cases"])
def test_wilson_is_newcombes_table(case: list[float]) -> None:
    successes, trials, low, high = case
    found = wilson_interval(successes, int(trials))
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 50), (50, 50), (13, 50)])
def test_wilson_is_scipys(successes: int, trials: int) -> None:
    theirs = stats.binomtest(successes, trials).proportion_ci(0.9, "wilson")
    found = wilson_interval(successes, trials, 0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= found.low <= found.mean <= found.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, 0), (math.nan, 3)])
def test_wilson_refuses(successes: float, trials: int) -> None:
    with pytest.raises(ValueError, match=r"expected .* found"):
        wilson_interval(successes, trials)
