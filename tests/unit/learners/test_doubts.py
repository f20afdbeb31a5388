"""Doubtful rows: planted wrong labels are found, clean data raises little alarm, and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fewtune.learners.choice import Answers, Choice, choose_learner
from fewtune.learners.doubts import held_out_probabilities, likely_mislabelled, most_uncertain
from fewtune.learners.labelled import Labelled
from fewtune.recipes.frozen import centroid, logistic

Integers = NDArray[np.int64]


def clouds(ways: int, shots: int, spread: float, seed: int) -> tuple[torch.Tensor, Integers]:
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(ways), shots)
    return torch.from_numpy((3 * np.eye(ways, 32)[y] + spread * random.normal(size=(len(y), 32))).astype(np.float32)), y


def choose(x: torch.Tensor, y: Integers) -> Choice:
    methods = {"centroid": centroid(), "logistic": logistic()}
    return choose_learner(methods, Labelled(x, np.arange(len(y)), y, int(y.max()) + 1), vectors=lambda _: None, fallback="centroid")


def flagged(x: torch.Tensor, y: Integers) -> set[int]:
    choice = choose(x, y)
    assert choice.answers is not None
    return {d.row for d in likely_mislabelled(choice.answers, np.arange(len(y)), y, temperature=choice.temperature)}


@pytest.mark.parametrize("seed", range(3))
def test_planted_wrong_labels_are_found(seed: int) -> None:
    """Ten of 120 labels wrong: eight and more of them are found (thresholds are means, so some rows stay below), and nothing else."""
    x, y = clouds(6, 20, 0.5, seed)
    random = np.random.default_rng(100 + seed)
    wrong = random.permutation(len(y))[:10]
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + random.integers(1, 6, 10)) % 6
    found = flagged(x, noisy)
    right = len(found & set(wrong.tolist()))
    assert right >= 8 and right == len(found)
    choice = choose(x, noisy)
    assert choice.answers is not None
    first = likely_mislabelled(choice.answers, np.arange(len(y)), noisy, temperature=choice.temperature, most=5)
    assert len(first) == 5 and all(d.row in wrong and d.answered == y[d.row] and d.given == noisy[d.row] for d in first)
    margins = [d.self_confidence - d.probability for d in first]
    assert margins == sorted(margins) and margins[-1] < 0


def test_clean_labels_raise_little_alarm() -> None:
    """Separable classes: none of 120 rows. Classes that overlap (about one answer in eight wrong): only rows answered wrongly."""
    assert flagged(*clouds(6, 20, 0.5, 0)) == set()
    x, y = clouds(6, 20, 1.1, 0)
    choice = choose(x, y)
    assert choice.answers is not None
    held, p = held_out_probabilities(choice.answers, len(y), choice.temperature)
    found = flagged(x, y)
    mistaken = set(held[p.argmax(1) != y[held]].tolist())
    assert found <= mistaken and len(mistaken) < 25


def test_by_hand() -> None:
    """Two repeats of four rows; row 3 was never held out, and is neither judge nor judged."""
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    answers = Answers(torch.from_numpy(np.log(p) * 2), np.array([0, 1, 2, 0, 1, 2]))
    rows, labels = np.array([10, 11, 12, 13]), np.array([0, 1, 1, 0])
    held, mean = held_out_probabilities(answers, 4, temperature=2.0)
    np.testing.assert_array_equal(held, [0, 1, 2])
    np.testing.assert_allclose(mean, [[0.8, 0.2], [0.3, 0.7], [0.8, 0.2]], atol=1e-12)
    # thresholds: class 0 by row 0 alone, 0.8; class 1 by rows 1 and 2, (0.7 + 0.2) / 2
    (doubt,) = likely_mislabelled(answers, rows, labels, temperature=2.0)
    assert (doubt.row, doubt.given, doubt.answered) == (12, 1, 0)
    assert doubt.probability == pytest.approx(0.8) and doubt.self_confidence == pytest.approx(0.2)
    for by in ("margin", "entropy"):
        first, second, third = most_uncertain(answers, rows, labels, temperature=2.0, by=by)  # type: ignore[arg-type]
        assert first.row == 11 and first.answered == first.given == 1 and {second.row, third.row} == {10, 12}
    assert len(most_uncertain(answers, rows, labels, most=2)) == 2


def test_margin_and_entropy_disagree_where_they_should() -> None:
    p = np.array([[0.5, 0.49, 0.01], [0.4, 0.3, 0.3]])
    answers, rows = Answers(torch.from_numpy(np.log(p)), np.arange(2)), np.arange(2)
    assert most_uncertain(answers, rows, rows)[0].row == 0 and most_uncertain(answers, rows, rows, by="entropy")[0].row == 1


def test_absent_classes_have_no_part() -> None:
    """A class whose only row is always support has no threshold: no row is suspected to be of it."""
    answers = Answers(torch.tensor([[0.0, 1.0, 5.0], [0.0, 3.0, 5.0]]), np.array([0, 1]))
    assert likely_mislabelled(answers, np.arange(3), np.array([0, 1, 2])) == ()
    padded = Answers(torch.tensor([[0.0, 1.0, -torch.inf], [3.0, 0.0, -torch.inf]]), np.array([0, 1]))
    assert len(most_uncertain(padded, np.arange(2), np.array([0, 0]), by="entropy")) == 2
