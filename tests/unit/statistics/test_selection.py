"""The honest accuracy of a winner, against a loop written from the paper and against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.statistics import best_of_candidates


def from_the_paper(correct: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Algorithm BBC-CV of Tsamardinos et al. 2018, item by item, without strata."""
    rng = np.random.default_rng(seed)
    n, found = correct.shape[1], []
    for _ in range(resamples):
        bag = rng.integers(n, size=n)
        out = np.setdiff1d(np.arange(n), bag)
        found.append(correct[np.argmax(correct[:, bag].mean(1)), out].mean())
    return np.array(found)


def test_equals_the_loop() -> None:
    correct = (np.random.default_rng(0).random((6, 50)) < np.linspace(0.5, 0.75, 6)[:, None]).astype(float)
    loop = from_the_paper(correct, 4_000, 1)
    found = best_of_candidates(correct, resamples=20_000)
    assert found.mean == pytest.approx(loop.mean(), abs=4 * loop.std() * math.sqrt(1 / 4_000 + 1 / 20_000))
    assert (found.low, found.high) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.02)
    assert (found.n, found.kind, found.level) == (50, "bbc-cv", 0.95)


def test_the_winner_of_equals_is_no_better_than_they_are() -> None:
    """Twenty candidates of true accuracy 0.7 on 100 items: the best held-out mean is near 0.78, this estimate is near 0.7."""
    rng = np.random.default_rng(0)
    naive, honest, covered = [], [], 0
    for trial in range(150):
        correct = (rng.random((20, 100)) < 0.7).astype(float)
        found = best_of_candidates(correct, resamples=300, seed=trial)
        naive.append(correct.mean(1).max())
        honest.append(found.mean)
        covered += 0.7 in found
    assert np.mean(naive) > 0.77
    assert np.mean(honest) == pytest.approx(0.7, abs=0.01)
    assert covered / 150 >= 0.95


def test_one_candidate_is_its_mean() -> None:
    correct = np.random.default_rng(0).random((1, 200))
    assert best_of_candidates(correct, resamples=20_000).mean == pytest.approx(correct.mean(), abs=0.002)


def test_a_candidate_that_always_wins_is_chosen_always() -> None:
    better = np.random.default_rng(0).random(80) * 0.5 + 0.5
    alone = best_of_candidates(better[None], seed=3)
    chosen = best_of_candidates(np.stack([better - 0.4, better, better - 0.5]), seed=3)
    assert (chosen.mean, chosen.low, chosen.high) == pytest.approx((alone.mean, alone.low, alone.high), rel=1e-12)


def test_equals_are_the_first() -> None:
    a = np.tile([1.0, 0.0], 20)
    found = best_of_candidates(np.stack([a, 1 - a, a]), np.tile([0, 1], 20), seed=1)
    # Within strata every candidate is constant, so each bag ties them all, and the first is right on half of each class.
    assert 0.3 < found.mean < 0.7


def test_equal_to_rounding_is_equal() -> None:
    """The second candidate is right as often in every bag (shares .3 + .1 + .2 of three equal classes), but its sum may round up."""
    labels = np.repeat([0, 1, 2], 20)
    first, second = np.array([0.1, 0.2, 0.3])[labels], np.array([0.3, 0.1, 0.2])[labels]
    for seed in range(5):
        both, alone = (best_of_candidates(np.stack(c), labels, seed=seed) for c in ([first, second], [first]))
        assert (both.mean, both.low, both.high) == pytest.approx((alone.mean, alone.low, alone.high), rel=1e-12)


def test_strata_hold_the_classes() -> None:
    """Correct on all of one class and none of the other: unstratified bags vary in their share, stratified ones do not."""
    labels = np.repeat([0, 1], 30)
    correct = (labels == 0).astype(float)[None]
    stratified, plain = best_of_candidates(correct, labels), best_of_candidates(correct)
    assert stratified.mean == pytest.approx(0.5, abs=0.01)
    assert stratified.half_width < plain.half_width


def test_items_never_held_out_take_no_part() -> None:
    correct = np.random.default_rng(0).random((3, 40))
    padded = np.concatenate([correct, np.full((3, 10), np.nan)], axis=1)
    labels = np.arange(50) % 4
    assert best_of_candidates(padded, labels) == best_of_candidates(correct, labels[:40])
    assert best_of_candidates(padded).n == 40


def test_items_one_candidate_did_not_answer() -> None:
    correct = np.full((2, 60), 0.5)
    correct[0] = 0.9
    correct[0, :20] = np.nan
    assert best_of_candidates(correct).mean == pytest.approx(0.9, abs=1e-12)


def test_lone_items_of_a_class_are_left_out_too() -> None:
    # Six classes of one item each: as strata of their own no item would ever be left out.
    found = best_of_candidates(np.array([[1.0, 0, 1, 0, 1, 0]]), np.arange(6))
    assert found.mean == pytest.approx(0.5, abs=0.05) and found.low < found.high
    found = best_of_candidates(np.array([[1.0, 1, 1, 1, 0]]), np.array([0, 0, 0, 0, 1]))
    assert found.mean == pytest.approx(0.8, abs=0.05) and found.low < 0.5


def test_too_few_items() -> None:
    found = best_of_candidates(np.array([[1.0], [0.5]]))
    assert found.mean == 1.0 and math.isnan(found.low) and found.n == 1
    assert best_of_candidates(np.ones((2, 2))).mean == 1.0


@pytest.mark.parametrize(
    ("correct", "labels"),
    [
        (np.ones(3), None),
        (np.full((2, 3), 1.5), None),
        (np.full((2, 3), np.nan), None),
        (np.array([[1.0, 1.0], [np.nan, np.nan]]), None),
        (np.ones((2, 3)), np.zeros(2)),
    ],
)
def test_refuses(correct: np.ndarray, labels: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=r"expected .* found"):
        best_of_candidates(correct, labels)


def test_answers_that_are_all_right_are_as_sure_as_there_are_many() -> None:
    """8 of 8: Wilson's bound 8 / (8 + z^2), by hand."""
    found = best_of_candidates(np.ones((5, 8)), labels=np.arange(8) % 2)
    assert found.mean == found.high == 1.0
    assert found.low == pytest.approx(8 / (8 + 1.959963985**2), abs=1e-6)
