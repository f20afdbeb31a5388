"""Candidate tasks: the same few rows of a class, distinct sets of classes, names that tell them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.candidates import candidate_tasks, few_rows, source_of
from fewtune.tasks.target_rows import target_tasks
from fewtune.tasks.task import Tasks, source_tasks
from tests.unit.tasks.selection_grounds import source


@pytest.fixture(scope="module")
def space() -> RowSpace:
    return RowSpace([source("birds", 30, 0), source("fish", 6, 1), source("fish", 3, 2), source("lone", 1, 3)])


def test_few_rows_are_the_first_by_digest_whatever_the_order(space: RowSpace) -> None:
    tasks = few_rows(source_tasks(space), space, 4)
    digests = [d for s in space.sources for d in s.row_digests]
    for task, whole in zip(tasks, source_tasks(space), strict=True):
        for mine, every in zip(task.rows, whole.rows, strict=True):
            assert mine.tolist() == sorted(sorted(every.tolist(), key=lambda row: digests[row])[:4])
    turned = np.random.default_rng(0).permutation(len(space.sources[0]))
    other = RowSpace([space.sources[0].take(turned)])
    again = few_rows(source_tasks(other), other, 4)
    for mine, theirs in zip(tasks[0].rows, again[0].rows, strict=True):
        assert {digests[r] for r in mine} == {other.sources[0].row_digests[r] for r in theirs}
    whole = few_rows(source_tasks(space), space, 10**6)
    assert np.array_equal(whole.order, source_tasks(space).order) and np.array_equal(whole.count, source_tasks(space).count)
    with pytest.raises(InputError, match="at least 1, found 0"):
        few_rows(tasks, space, 0)


def test_few_rows_keep_their_targets() -> None:
    values = np.arange(20.0)[:, None]
    made = RowSpace([source("t", 4, 0, rows=5, height=values)])
    tasks = few_rows(target_tasks(made, "height"), made, 6)
    assert tasks.targets is not None and np.array_equal(tasks.targets[:, 0], tasks.order)


def test_candidates_are_distinct_sets_of_each_source(space: RowSpace) -> None:
    sources = few_rows(source_tasks(space), space, 5)
    found = candidate_tasks(sources, 4, 40, key(0))
    assert len(set(found.names)) == len(found) == 40 + math.comb(6, 4) + 1  # the lone class gives none
    assert [source_of(n) for n in found.names] == ["birds"] * 40 + ["fish"] * 15 + ["fish (2)"]
    for task in found:
        assert len(task.classes) == (4 if len(task.classes) != 3 else 3) and len(set(task.classes.tolist())) == len(task.classes)
    sets = [tuple(task.classes.tolist()) for task in found]
    assert len(set(sets)) == len(sets) and found.ids.tolist() == list(range(len(found)))
    assert sum(1 for s in sets if s == tuple(range(36, 39))) == 1


def test_a_source_gives_the_same_beside_others(space: RowSpace) -> None:
    alone = candidate_tasks(source_tasks(RowSpace([space.sources[0]])), 5, 25, key(1))
    beside = candidate_tasks(source_tasks(space), 5, 25, key(1))
    assert [t.classes.tolist() for t in alone] == [t.classes.tolist() for t in beside][:25]
    other = candidate_tasks(source_tasks(space), 5, 25, key(2))
    assert [t.classes.tolist() for t in alone] != [t.classes.tolist() for t in other][:25]


def test_classes_are_drawn_uniformly(space: RowSpace) -> None:
    found = candidate_tasks(source_tasks(RowSpace([space.sources[0]])), 6, 3000, key(3))
    counts = np.bincount(found.slots, minlength=30)  # each 600 expected; the deviation of a count is 22
    assert abs(counts - 600).max() < 5 * 22


def test_no_two_classes_anywhere_is_an_error(space: RowSpace) -> None:
    lone = source_tasks(RowSpace([space.sources[3]]))
    with pytest.raises(InputError, match="no source of lone has two classes"):
        candidate_tasks(lone, 5, 10, key(0))
    with pytest.raises(InputError, match="ways of at least 2"):
        candidate_tasks(lone, 1, 10, key(0))


def test_slots_are_shared(space: RowSpace) -> None:
    sources = source_tasks(space)
    found: Tasks = candidate_tasks(sources, 4, 200, key(0))
    assert found.order is sources.order and len(found.count) == len(sources.count)
