"""Hard episodes on planted classes: near ones meet, with probabilities by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.hard import Hard, nearest_classes
from fewtune.tasks.task import Tasks, class_rows, group_tasks


def _pairs() -> tuple[Tasks, np.ndarray[Any, Any]]:
    """Eight classes of 6 rows in two groups (even and odd ones), and class means: four pairs (0, 1), (2, 3), ... of near directions."""
    angles = np.array([0.0, 0.1, 0.9, 1.05, 2.0, 2.2, 3.15, 3.4])
    labels = np.repeat(np.arange(8), 6)
    groups = [f"g{label % 2}" for label in labels]
    made = make_examples(Vectors(np.zeros((48, 1), dtype=np.float32)), labels, class_names=[f"c{i}" for i in range(8)], groups=groups)
    return class_rows(RowSpace([made])), np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_near_classes_meet_and_others_do_not() -> None:
    """Two ways: the anchor is uniform over eight classes and its pair is certain, so each pair has probability 1/4 (by chance 1/28)."""
    tasks, means = _pairs()
    near = nearest_classes(tasks, means)
    drawn = Hard(ways=2, shots=1, queries=2).draw(near, key(0), 0, 4000)
    found = np.sort(drawn.classes.numpy(), axis=1)
    assert (found[:, 0] % 2 == 0).all() and (found[:, 1] == found[:, 0] + 1).all()
    assert stats.chisquare(np.bincount(found[:, 0] // 2)).pvalue > 1e-3
    assert drawn.classes[:, 0].unique().numel() == 8  # an anchor stands at any place


def test_one_among_the_nearest_has_the_probability_by_hand() -> None:
    """Two ways among three: each of the three nearest of an anchor has 1/3."""
    tasks, means = _pairs()
    drawn = Hard(ways=2, shots=1, queries=2, among=3).draw(nearest_classes(tasks, means, 3), key(0), 0, 12_000)
    nearest = {0: (1, 2, 3), 1: (0, 2, 3), 2: (3, 1, 0), 3: (2, 1, 4), 4: (5, 3, 2), 5: (4, 6, 3), 6: (7, 5, 4), 7: (6, 5, 4)}
    expected = np.zeros((8, 8))
    for anchor, others in nearest.items():
        for other in others:
            expected[tuple(sorted((anchor, other)))] += 1 / 8 / 3
    found = np.zeros((8, 8))
    np.add.at(found, tuple(np.sort(drawn.classes.numpy(), axis=1).T), 1)
    assert (found[expected == 0] == 0).all() and expected.sum() == pytest.approx(1)
    assert stats.chisquare(found[expected > 0], expected[expected > 0] * 12_000).pvalue > 1e-3


def test_an_anchor_that_is_too_small_has_no_episodes() -> None:
    """Five classes on a line of angles, the first with 2 rows of 3 asked: the other four are anchors, each with its own nearest."""
    sizes = [2, 6, 6, 6, 6]
    labels = np.repeat(np.arange(5), sizes)
    tasks = class_rows(RowSpace([make_examples(Vectors(np.zeros((26, 1), dtype=np.float32)), labels, class_names=list("abcde"))]))
    angles = np.array([0.0, 0.1, 0.3, 1.0, 1.1])
    near = nearest_classes(tasks, np.stack([np.cos(angles), np.sin(angles)], axis=1))
    drawn = Hard(ways=2, shots=1, queries=2).draw(near, key(0), 0, 400)
    assert {tuple(sorted(row)) for row in drawn.classes.tolist()} == {(1, 2), (3, 4)}


def test_hard_asks_for_tasks_in_order_of_nearness() -> None:
    labels = np.repeat(np.arange(12), 20)
    groups = [f"g{label % 2}" for label in labels]
    names = [f"c{i}" for i in range(12)]
    space = RowSpace([make_examples(Vectors(np.zeros((240, 1), dtype=np.float32)), labels, class_names=names, groups=groups)])
    with pytest.raises(InputError, match="these tasks do not say which are"):
        Hard(ways=3).draw(class_rows(space), key(0), 0, 1)
    near = nearest_classes(group_tasks(space).take([1]), np.random.default_rng(0).normal(size=(12, 3)))
    assert near.ids.tolist() == [1] * 6  # the group that each was made of, also of one that was itself taken
