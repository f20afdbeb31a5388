"""The model that is saved learns from all labels: what its folds learned from, its slope, its expected accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fewtune.keys import key
from fewtune.learners.choice import choose_learner, held_out_answers
from fewtune.learners.expected import chance_of, half_of_each_class, measured_slope, share_learned, single_rows
from fewtune.learners.folds import Splits, random_order, stratified_splits, with_fewer
from fewtune.learners.labelled import Labelled
from fewtune.models.fitting import fit_head
from fewtune.recipes.frozen import logistic
from fewtune.statistics import USUAL_SLOPE, expected_accuracy, learning_slope

Floats = NDArray[np.float64]


def splits_of(counts: list[int], folds: int = 5, repeats: int = 2) -> tuple[NDArray[np.int64], Splits]:
    labels = np.repeat(np.arange(len(counts)), counts)
    return labels, stratified_splits(np.arange(len(labels)), labels, len(counts), key(0), folds=folds, repeats=repeats)


def test_the_share_that_folds_learn_from() -> None:
    """8 rows in 5 folds are 2, 2, 2, 1, 1: six are answered from 6 of 8, two from 7 of 8."""
    assert share_learned(splits_of([8, 8])[1]) == pytest.approx((0.75**6 * 0.875**2) ** (1 / 8))
    assert share_learned(splits_of([2, 2, 2])[1]) == pytest.approx(0.5)
    assert share_learned(splits_of([10, 10], folds=2)[1]) == pytest.approx(0.5)


def test_the_chance_of_guessing() -> None:
    assert chance_of(np.array([0, 1, 2, 3])) == 0.25
    assert chance_of(np.array([0, 0, 0, 2])) == 0.75**2 + 0.25**2  # class 1 has no rows


def test_half_of_each_class_is_learned_from() -> None:
    _, splits = splits_of([8, 3, 1])
    assert splits.episodes is not None
    halves = with_fewer(splits, random_order(splits.episodes, key(1)), half_of_each_class(splits.episodes))
    assert halves.episodes is not None
    for e in range(len(splits.episodes)):
        whole, half = (
            {int(row): int(c) for row, c in zip(part.support[e], part.support_label[e], strict=True) if row >= 0}
            for part in (splits.episodes, halves.episodes)
        )
        assert half.items() <= whole.items()
        for c in range(3):
            assert list(half.values()).count(c) == (list(whole.values()).count(c) + 1) // 2
    assert torch.equal(splits.episodes.query, halves.episodes.query)


def test_only_folds_of_single_rows_have_no_half() -> None:
    assert single_rows(splits_of([2, 2])[1]) and not single_rows(splits_of([2, 3])[1])

    def never(_: Splits) -> Floats:
        raise AssertionError("nothing is to be answered again")

    assert measured_slope(splits_of([2, 2])[1], np.ones(4), never, 0.5, 0) == USUAL_SLOPE


def test_the_slope_is_that_of_the_same_rows() -> None:
    """Rows that were never held out take no part; the ratio is that of all rows that are learned from."""
    _, splits = splits_of([1, 6, 6])
    more = np.array([np.nan, *np.linspace(0, 1, 12)])
    fewer = np.where(np.arange(13) % 2, more, more / 2)
    asked: list[Splits] = []

    def answer(halves: Splits) -> Floats:
        asked.append(halves)
        return fewer

    found = measured_slope(splits, more, answer, 1 / 3, 0)
    whole, half = (int((part.episodes.support >= 0).sum()) for part in (splits, asked[0]) if part.episodes is not None)
    assert found == learning_slope(fewer[1:], more[1:], whole / half, 1 / 3) and 1.5 < whole / half < 2


def test_the_first_repeats_alone() -> None:
    _, splits = splits_of([4, 4], folds=2, repeats=3)
    first = splits.first(2)
    assert splits.episodes is not None and first.episodes is not None
    assert len(first.episodes) == 4 and first.repeat.tolist() == [0, 0, 1, 1]
    assert torch.equal(first.episodes.query, splits.episodes.query[:4])


def drawn(random: np.random.Generator, each: int) -> tuple[Floats, NDArray[np.int64]]:
    """Four classes of which 30 features in 40 say nothing: more labels help much."""
    y = np.repeat(np.arange(4), each)
    return np.eye(4, 40)[y] * 1.2 + 0.55 * random.normal(size=(len(y), 40)), y


@pytest.mark.parametrize("each", [2, 5, 8])
def test_the_expected_accuracy_is_that_of_all_labels(each: int) -> None:
    """On fresh rows; held-out answers alone are too low."""
    random = np.random.default_rng(each)
    new, label = drawn(random, 500)
    errors, plain, held = [], [], []
    for draw in range(60):
        x, y = drawn(random, each)
        features = torch.as_tensor(x, dtype=torch.float32)
        labelled = Labelled(features, np.arange(len(y)), y, 4)
        choice = choose_learner({"a": logistic()}, labelled, vectors=lambda _: None, fallback="a", seed=draw)
        state, parameters = fit_head(choice.method, features, np.arange(len(y)), y, 4, None)
        scores = choice.method.head.score(state, torch.as_tensor(new, dtype=torch.float32)[None], parameters)[0]
        truth = float((scores.argmax(1).numpy() == label).mean())
        assert choice.expected is not None
        errors.append(choice.expected.mean - truth)
        plain.append(choice.candidates[0].accuracy - truth)
        held.append(truth in choice.expected)
    assert np.mean(plain) < np.mean(errors) < np.mean(plain) + 0.15
    assert abs(np.mean(errors)) < 0.02 + 2 * np.std(errors) / np.sqrt(60)
    assert np.mean(held) >= 0.88


def test_the_choice_says_what_its_parts_say() -> None:
    x, y = drawn(np.random.default_rng(0), 6)
    features: Any = torch.as_tensor(x, dtype=torch.float32)
    labelled = Labelled(features, np.arange(24), y, 4)
    choice = choose_learner({"a": logistic()}, labelled, vectors=lambda _: None, fallback="a")
    whole = held_out_answers(logistic(), labelled, choice.splits, None).correct(y, 24)
    part = choice.splits.first(5)

    def answer(splits: Splits) -> Floats:
        return held_out_answers(logistic(), labelled, splits, None).correct(y, 24)

    slope = measured_slope(part, answer(part), answer, 0.25, 0)
    assert choice.slope == slope != USUAL_SLOPE
    assert choice.expected == expected_accuracy(whole, share_learned(choice.splits), 0.25, slope, repeats=10)
