"""Intervals of metrics: by rows where they are means, by the bootstrap where not; paired differences; coverage on planted answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.statistics import (
    METRICS,
    held_out_difference,
    metric_difference,
    metric_interval,
    paired_interval,
    sign_flip_test,
    t_interval,
    wilson_interval,
)


def answers(seed: int, n: int = 80, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two answers to a yes/no question [n, 2], the first better by `skill`, and the truth with a few rows missing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    signs = 2.0 * truth - 1

    def probabilities(strength: float) -> np.ndarray:
        p = 1 / (1 + np.exp(-(strength * signs + rng.normal(0, 1, n))))
        return np.stack([1 - p, p], 1)

    first, second = probabilities(0.5 + skill), probabilities(0.5)
    truth[:3] = -1
    return first, second, truth


def test_a_mean_over_rows_has_the_t_interval() -> None:
    first, _, truth = answers(0)
    found = metric_interval(METRICS["log_loss"], first, truth)
    assert found == t_interval(-np.log(first[np.arange(80), truth])[3:])


@pytest.mark.parametrize("name", ["accuracy", "micro_f1"])
def test_a_share_of_right_rows_has_wilsons_interval(name: str) -> None:
    """It stays within 0 and 1, and is no point where all rows are right: with 4 right answers of 4, chance 0.51 is not excluded."""
    first, _, truth = answers(0)
    right = int((first.argmax(1) == truth)[3:].sum())
    assert metric_interval(METRICS[name], first, truth) == wilson_interval(right, 77)
    found = metric_interval(METRICS[name], np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])
    assert (found.mean, found.high) == (1.0, 1.0) and found.low == pytest.approx(4 / (4 + 1.959964**2))


def test_an_error_of_0_and_1_alone_is_no_share() -> None:
    found = metric_interval(METRICS["mae"], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    assert found == t_interval([0.0, 1.0, 0.0, 1.0])


def test_other_metrics_have_the_bootstrap_over_known_rows() -> None:
    first, _, truth = answers(0)
    found = metric_interval(METRICS["auc"], first, truth, resamples=200, seed=4)
    rng = np.random.default_rng(4)
    drawn = [np.arange(3, 80)[rng.integers(77, size=77)] for _ in range(200)]
    values = [METRICS["auc"].of(first[rows], truth[rows]) for rows in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert (found.mean, found.n, found.kind) == (METRICS["auc"].of(first, truth), 77, "bootstrap")
    assert found == metric_interval(METRICS["auc"], first, truth, resamples=200, seed=4)


def test_the_difference_of_means_is_paired() -> None:
    first, second, truth = answers(0)
    d = ((first.argmax(1) == truth).astype(float) - (second.argmax(1) == truth))[3:]
    assert metric_difference(METRICS["accuracy"], first, second, truth) == (paired_interval(d), sign_flip_test(d))
    assert metric_difference(METRICS["accuracy"], first, second, truth, folds=5) == held_out_difference(d, 5)


@pytest.mark.parametrize("name", ["accuracy", "auc", "log_loss", "mcc"])
def test_a_gain_is_above_0_in_either_direction(name: str) -> None:
    first, second, truth = answers(1, 300)
    gain, p = metric_difference(METRICS[name], first, second, truth, resamples=300)
    assert 0 < gain.low < gain.mean < gain.high
    assert p < 0.01
    loss, same = metric_difference(METRICS[name], second, first, truth, resamples=300)
    assert (loss.mean, loss.low, loss.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))
    assert same == p


def test_folds_widen_the_bootstrap_about_the_gain() -> None:
    first, second, truth = answers(2)
    plain, _ = metric_difference(METRICS["auc"], first, second, truth, resamples=200)
    wide, _ = metric_difference(METRICS["auc"], first, second, truth, resamples=200, folds=5)
    assert wide.mean == plain.mean
    assert (wide.high - wide.mean) / (plain.high - plain.mean) == pytest.approx(math.sqrt(2.25))
    assert (wide.low - wide.mean) / (plain.low - plain.mean) == pytest.approx(math.sqrt(2.25))


def test_equal_answers_gain_nothing() -> None:
    first, _, truth = answers(3)
    for name in ("accuracy", "auc"):
        gain, p = metric_difference(METRICS[name], first, first, truth, resamples=100)
        assert (gain.mean, gain.low, gain.high, p) == (0.0, 0.0, 0.0, 1.0)


def test_the_bootstrap_p_counts_the_smaller_side() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    first, second = truth + rng.normal(0, 1.0, 40), truth + rng.normal(0, 1.15, 40)
    gain, p = metric_difference(METRICS["rmse"], first, second, truth, resamples=500, seed=1)
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(500):
        r = rng.integers(40, size=40)
        gains.append(METRICS["rmse"].of(second[r], truth[r]) - METRICS["rmse"].of(first[r], truth[r]))
    smaller = min(np.sum(np.array(gains) <= 0), np.sum(np.array(gains) >= 0))
    assert 0.02 < p == pytest.approx(2 * (smaller + 1) / 501)
    assert gain.low < 0 < gain.high


def test_what_cannot_be_known_is_nan() -> None:
    one = metric_interval(METRICS["auc"], [[0.4, 0.6]], [1])
    assert math.isnan(one.mean) and math.isnan(one.low) and one.n == 1
    chance = np.linspace(0, 1, 30)
    rare = np.zeros(30, dtype=int)
    rare[3] = 1  # absent from 36% of the resamples: they are left out
    some = metric_interval(METRICS["auc"], np.stack([1 - chance, chance], 1), rare, resamples=200)
    assert some.low <= some.mean <= some.high
    gain, p = metric_difference(METRICS["auc"], [[0.4, 0.6]], [[0.5, 0.5]], [1])
    assert math.isnan(gain.low) and p == 1.0
    none = metric_interval(METRICS["accuracy"], np.zeros((2, 2)), [-1, -1])
    assert math.isnan(none.mean) and math.isnan(none.high) and none.n == 0
    gain, p = metric_difference(METRICS["accuracy"], np.zeros((2, 2)), np.zeros((2, 2)), [-1, -1])
    assert math.isnan(gain.mean) and p == 1.0


def test_the_paired_bootstrap_covers() -> None:
    """150 data sets of 60 rows: the true difference of RMSE, known in closed form, lies in the 90% interval about as often."""
    rng, hits = np.random.default_rng(0), 0
    true_gain = 1.2 - 1.0
    for number in range(150):
        truth = rng.normal(size=60)
        noise = rng.normal(size=60)
        first, second = truth + noise, truth + 1.2 * (0.8 * noise + 0.6 * rng.normal(size=60))
        gain, _ = metric_difference(METRICS["rmse"], first, second, truth, 0.9, resamples=100, seed=number)
        hits += true_gain in gain
    assert 0.84 <= hits / 150 <= 0.95


def test_too_few_resamples_are_refused() -> None:
    first, _, truth = answers(0)
    with pytest.raises(ValueError, match="at least 100 resamples"):
        metric_interval(METRICS["auc"], first, truth, resamples=10)
