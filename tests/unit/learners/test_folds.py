"""Splits of a few labelled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.keys import key
from fewtune.learners.choice import held_out_answers
from fewtune.learners.folds import stratified_splits
from fewtune.learners.labelled import Labelled
from fewtune.recipes.frozen import logistic


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    folds=st.integers(2, 6),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_every_split_is_a_partition_and_every_class_stays_in_the_support(counts: list[int], folds: int, repeats: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = 100 + np.arange(len(labels))
    splits = stratified_splits(rows, labels, len(counts), key(seed), folds=folds, repeats=repeats)
    if max(counts) < 2:
        assert splits.episodes is None
        return
    episodes = splits.episodes
    assert episodes is not None
    held = np.zeros((repeats, len(labels)), dtype=int)
    for e in range(len(episodes)):
        support, query = (part[part >= 0] for part in (episodes.support[e], episodes.query[e]))
        assert sorted(torch.cat([support, query]).tolist()) == rows.tolist()
        assert len(query) > 0
        assert set(episodes.support_label[e][episodes.support[e] >= 0].tolist()) == set(range(len(counts)))
        for part, local in ((episodes.support[e], episodes.support_label[e]), (episodes.query[e], episodes.query_label[e])):
            assert (labels[part[part >= 0] - 100] == local[part >= 0].numpy()).all()
        held[splits.repeat[e], query.numpy() - 100] += 1
    expected = np.repeat(np.array(counts) >= 2, counts).astype(int)
    assert (held == expected).all()
    assert splits.held_out == expected.sum()


def test_folds_are_even_and_stratified() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    episodes = stratified_splits(np.arange(60), labels, 3, key(0), folds=5, repeats=1).episodes
    assert episodes is not None
    for e in range(5):
        assert torch.bincount(episodes.query_label[e]).tolist() == [2, 4, 6]


@pytest.mark.parametrize("shots", [3, 5, 7, 8, 11])
def test_classes_of_one_size_are_equally_large_in_every_support(shots: int) -> None:
    episodes = stratified_splits(np.arange(4 * shots), np.repeat(np.arange(4), shots), 4, key(0), folds=5, repeats=3).episodes
    assert episodes is not None
    for label in episodes.support_label:
        assert len(set(torch.bincount(label[label >= 0]).tolist())) == 1


def test_a_learner_of_shares_is_not_made_to_look_bad() -> None:
    """Two classes that nothing tells apart: strongly regularised logistic regression is right on half of the held-out rows."""
    right = []
    for draw in range(40):
        x, y = torch.from_numpy(np.random.default_rng(draw).normal(size=(16, 30))).float(), np.repeat([0, 1], 8)
        labelled = Labelled(x, np.arange(16), y, 2)
        splits = stratified_splits(labelled.rows, y, 2, key(draw), folds=5, repeats=4)
        right.append(float(held_out_answers(logistic(C=0.01), labelled, splits, None).correct(y, 16).mean()))
    assert 0.42 < np.mean(right) < 0.58


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_a_function_of_the_key(seed: int) -> None:
    labels = np.repeat([0, 1], 6)
    first, second = (stratified_splits(np.arange(12), labels, 2, key(seed), folds=3, repeats=2) for _ in range(2))
    other = stratified_splits(np.arange(12), labels, 2, key(seed + 10), folds=3, repeats=2)
    assert first.episodes is not None and second.episodes is not None and other.episodes is not None
    assert first.episodes.digest() == second.episodes.digest() != other.episodes.digest()


def test_of_many_rows_a_share_of_each_class_is_held_out_and_all_others_are_always_learned_from() -> None:
    labels = np.repeat([0, 1, 2, 3], [600, 300, 7, 1])
    splits = stratified_splits(np.arange(908), labels, 4, key(0), folds=5, repeats=2, most=90)
    episodes = splits.episodes
    assert episodes is not None
    assert splits.held_out == 60 + 30 + 5
    for number in range(2):
        of_repeat = [e for e in range(len(episodes)) if splits.repeat[e] == number]
        asked = torch.cat([episodes.query_label[e][episodes.query[e] >= 0] for e in of_repeat])
        assert torch.bincount(asked).tolist() == [60, 30, 5]
        held = [set(episodes.query[e][episodes.query[e] >= 0].tolist()) for e in of_repeat]
        assert len(set.union(*held)) == 95  # each at most once
        for e, mine in zip(of_repeat, held, strict=True):
            assert set(episodes.support[e][episodes.support[e] >= 0].tolist()) == set(range(908)) - mine
    same = stratified_splits(np.arange(908), labels, 4, key(0), folds=5, repeats=2, most=907).episodes
    whole = stratified_splits(np.arange(908), labels, 4, key(0), folds=5, repeats=2).episodes
    assert same is not None
    assert whole is not None
    assert torch.equal(same.query, whole.query)
