"""Greedy weights: a plain loop finds the same, and better members weigh more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fewtune.statistics import greedy_weights


def members(seed: int, strength: tuple[float, ...], rows: int = 40, ways: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, ways, rows)
    logits = random.normal(size=(len(strength), rows, ways)) + np.array(strength)[:, None, None] * np.eye(ways)[labels]
    return log_softmax(logits, axis=2), labels


def loss(logs: Any, labels: Any) -> float:
    return float(np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logs, labels, strict=True)]))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_plain_loop(seed: int) -> None:
    logs, labels = members(seed, (0.5, 1.0, 1.2, 0.0))
    bag: list[int] = []
    found: list[tuple[float, list[int]]] = []
    for _ in range(7):
        tried = [loss(np.mean([logs[i] for i in [*bag, m]], axis=0), labels) for m in range(4)]
        bag.append(tried.index(min(tried)))
        found.append((min(tried), list(bag)))
    best = min(found, key=lambda one: one[0])[1]
    np.testing.assert_allclose(greedy_weights(logs, labels, 7), [best.count(m) / len(best) for m in range(4)], atol=1e-12)


def test_two_members_come_near_the_best_share() -> None:
    """The loss is convex in the share; twenty rounds find it to within a twentieth."""
    for seed in range(6):
        logs, labels = members(seed, (0.6, 0.9), rows=200)
        exact = minimize_scalar(lambda a, logs=logs, y=labels: loss((1 - a) * logs[0] + a * logs[1], y), bounds=(0, 1), method="bounded")
        weights = greedy_weights(logs, labels)
        assert weights.sum() == pytest.approx(1) and abs(weights[1] - exact.x) <= 0.05


def test_a_member_that_is_always_right_is_alone_and_twins_are_one() -> None:
    logs, labels = members(0, (0.0, 30.0))
    np.testing.assert_array_equal(greedy_weights(logs, labels), [0, 1])
    twins = np.stack([logs[0], logs[0]])
    np.testing.assert_array_equal(greedy_weights(twins, labels), [1, 0])


@pytest.mark.parametrize(
    ("logs", "labels", "rounds", "message"),
    [
        (np.zeros((2, 3)), [0, 1, 1], 5, r"\[members, answers, classes\], found shape \(2, 3\)"),
        (np.full((2, 3, 2), np.nan), [0, 1, 1], 5, "finite"),
        (np.zeros((2, 3, 2)), [0, 1, 2], 5, "between 0 and 1"),
        (np.zeros((2, 3, 2)), [0, 1], 5, "expected 3 labels"),
        (np.zeros((2, 3, 2)), [0, 1, 1], 0, "at least 1 round"),
    ],
)
def test_what_cannot_be_weighed_is_refused(logs: Any, labels: Any, rounds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        greedy_weights(logs, labels, rounds)
