"""Quantities of the theory where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fewtune import InputError
from fewtune.transfer import (
    average_difference,
    collision_probability,
    diversity,
    finetuning_bound,
    finetuning_gain,
    pair_losses,
    pretraining_bound,
    supervised_loss,
    tasks_and_rows,
    variance_ratio,
    worst_difference,
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_within_and_between_make_the_total(seed: int) -> None:
    random = np.random.default_rng(seed)
    f, y = random.standard_normal((30, 4)), np.repeat([0, 1, 2], [5, 10, 15])
    within = sum(((f[y == c] - f[y == c].mean(0)) ** 2).sum() for c in range(3))
    total = ((f - f.mean(0)) ** 2).sum()
    assert variance_ratio(f, y) == pytest.approx(within / (total - within))
    assert variance_ratio(7 * f + 3, y) == pytest.approx(variance_ratio(f, y))  # no unit, no origin
    assert variance_ratio(np.concatenate([f, 99 * f]), np.concatenate([y, np.full(30, -1)])) == pytest.approx(variance_ratio(f, y))


def test_ends_of_the_ratio() -> None:
    assert variance_ratio([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1]) == 0
    assert variance_ratio([[0.0], [2.0], [0.0], [2.0]], [0, 0, 1, 1]) == math.inf
    with pytest.raises(InputError, match="two classes"):
        variance_ratio([[0.0], [1.0]], [0, 0])


def test_collisions_by_counting() -> None:
    drawn = np.random.default_rng(0).choice(3, size=(2, 100_000), p=(0.5, 0.3, 0.2))
    assert collision_probability([50, 30, 20]) == pytest.approx(0.38)
    assert (drawn[0] == drawn[1]).mean() == pytest.approx(0.38, abs=0.006)
    assert collision_probability([1] * 8) == pytest.approx(1 / 8)
    with pytest.raises(InputError):
        collision_probability([0, 0])


def test_the_supervised_loss_is_scikit_learns_without_the_penalty() -> None:
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    f = random.standard_normal((60, 4)) + np.eye(3, 4)[y]
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=2000).fit(f, y)
    assert supervised_loss(f, y, C=0.5) == pytest.approx(log_loss(y, model.predict_proba(f)), rel=1e-6)
    assert supervised_loss(np.zeros((60, 1)), y) == pytest.approx(math.log(3), rel=1e-6)  # what knows nothing
    assert supervised_loss(f, y + 5) == pytest.approx(supervised_loss(f, y))
    with pytest.raises(InputError):
        supervised_loss(f, np.zeros(60, dtype=int))


def test_better_features_have_smaller_losses_on_all_pairs() -> None:
    random = np.random.default_rng(1)
    y = np.arange(90) % 3
    noise = random.standard_normal((90, 4))
    good, bad = pair_losses(noise + 5 * np.eye(3, 4)[y], y), pair_losses(noise + 0.5 * np.eye(3, 4)[y], y)
    assert len(good) == 3 and (good < bad).all()
    assert pair_losses(noise, y, pairs=[(2, 0)])[0] == pytest.approx(pair_losses(noise, y)[1])
    assert average_difference(bad, good) == pytest.approx((bad - good).mean())
    assert average_difference(bad, good, [1, 0, 0]) == pytest.approx(bad[0] - good[0])
    assert worst_difference(bad, good) == pytest.approx((bad - good).max())
    assert worst_difference(bad, good) > average_difference(bad, good)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 0.3))
def test_diversity_is_the_largest_nu_that_holds(seed: int, epsilon: float) -> None:
    random = np.random.default_rng(seed)
    average, worst = random.uniform(0.05, 0.5, 6), random.uniform(0.05, 1.0, 6)
    nu = diversity(average, worst, epsilon).nu
    assert (worst <= average / nu + epsilon + 1e-12).all()
    if nu < 1:
        assert not (worst <= average / (nu * 1.01) + epsilon).all()


def test_ends_of_diversity() -> None:
    assert diversity([0.0, 0.1], [0.1, 0.1]).nu == 0.0  # something lost on the target that no source task sees
    assert diversity([0.0], [0.1], 0.2).nu == 1.0
    with pytest.raises(InputError):
        diversity([0.1], [0.1, 0.2])


def test_bounds_are_those_of_the_theorems() -> None:
    assert pretraining_bound(0.5, 0.2, best=0.1, nu=0.5, epsilon=0.01) == pytest.approx(((1.0 - 0.2) / 0.8 - 0.1) / 0.5 + 0.01)
    assert finetuning_bound(0.3, 0.5, 0.2, best=0.1, nu=0.5) == pytest.approx((0.3 * 1.0 - 0.1) / 0.5)
    assert finetuning_bound(1.0, 0.5, 0.2) == pretraining_bound(0.5, 0.2)
    assert finetuning_gain(0.25, 0.5, 0.2, nu=0.5) == pytest.approx(0.75 * 1.0 / 0.5)
    tasks, rows = tasks_and_rows(0.3, 0.5, 0.2, math.exp(-2), 1.0, 3.0)
    assert tasks == pytest.approx((1 + 2 / 0.1) / 0.1) and rows == pytest.approx((3 + 2 / 0.1) / 0.1)
    assert tasks_and_rows(0.15, 0.5, 0.2, math.exp(-2), 1.0, 3.0)[0] > 2 * tasks
    for odd in ((0.0, 0.5, 0.2), (0.5, -1.0, 0.2), (0.5, 0.5, 1.0)):
        with pytest.raises(InputError):
            finetuning_bound(*odd)


def test_equal_rows_have_no_ratio_whatever_their_rounding() -> None:
    for count in range(2, 40):
        labels = np.arange(count) % 2
        assert math.isnan(variance_ratio(np.full((count, 3), 0.1), labels))
        spread = np.full((2 * count, 3), 0.1) + 0.3 * (np.arange(2 * count) // 2 % 2)[:, None]
        assert variance_ratio(np.concatenate([spread, spread]), np.arange(4 * count) // (2 * count)) == math.inf


def test_features_that_are_no_numbers_are_refused() -> None:
    for of in (variance_ratio, supervised_loss):
        with pytest.raises(InputError, match="finite features"):
            of([[0.1], [np.nan], [0.3]], [0, 0, 1])
    assert variance_ratio([[0.0], [2.0], [10.0], [12.0], [np.nan]], [0, 0, 1, 1, -1]) == pytest.approx(0.04)
