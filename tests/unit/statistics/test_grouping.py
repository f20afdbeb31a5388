"""Groups of tasks: against all choices for few tasks, against an integer program for more, and on planted blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from fewtune.statistics import choose_groups, group_search
from fewtune.statistics.group_search import every_group, group_scores, undominated


def score(affinity: np.ndarray, group: tuple[int, ...], task: int, alone: float) -> float:
    """The definition."""
    return float(np.mean([affinity[i, task] for i in group if i != task])) if len(group) > 1 else alone


def best_of_all(affinity: np.ndarray, budget: int, alone: float) -> float:
    """The best mean over tasks of every choice of at most `budget` groups."""
    tasks = range(len(affinity))
    groups = [g for size in range(1, len(affinity) + 1) for g in itertools.combinations(tasks, size)]
    table = np.array([[score(affinity, g, j, alone) if j in g else -np.inf for j in tasks] for g in groups])
    best = -np.inf
    for count in range(1, budget + 1):
        for chosen in itertools.combinations(range(len(groups)), count):
            best = max(best, float(table[list(chosen)].max(0).mean()))
    return best


def best_of_program(affinity: np.ndarray, budget: int) -> float:
    """The same by an integer program (HiGHS): which groups are open, and which open group serves each task."""
    tasks = len(affinity)
    groups = every_group(tasks)
    scores = group_scores(groups, affinity, np.zeros(tasks))
    g, t = np.nonzero(groups)
    rows, number = len(groups), len(g)
    served = np.zeros((tasks, rows + number))
    served[t, rows + np.arange(number)] = 1
    is_open = np.zeros((number, rows + number))
    is_open[np.arange(number), g] = -1
    is_open[np.arange(number), rows + np.arange(number)] = 1
    few = np.concatenate([np.ones(rows), np.zeros(number)])[None]
    found = milp(
        -np.concatenate([np.zeros(rows), scores[g, t]]),
        integrality=np.concatenate([np.ones(rows), np.zeros(number)]),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(served, 1, 1), LinearConstraint(is_open, -np.inf, 0), LinearConstraint(few, -np.inf, budget)],
    )
    return float(-found.fun / tasks)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tasks=st.integers(1, 5), budget=st.integers(1, 3), alone=st.sampled_from([0.0, -0.5, -1e6]))
def test_as_good_as_every_choice(seed: int, tasks: int, budget: int, alone: float) -> None:
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=(tasks, tasks))
    if seed % 3 == 0:
        affinity = np.round(affinity)  # ties
    found = choose_groups(affinity, budget, alone)
    assert found.exact
    assert found.value == pytest.approx(best_of_all(affinity, budget, alone), rel=1e-9)
    assert 1 <= len(found.groups) <= budget
    assert {j for group in found.groups for j in group} == set(range(tasks))
    for j, (group, value) in enumerate(zip(found.served, found.scores, strict=True)):
        assert value == pytest.approx(score(affinity, found.groups[group], j, alone))
    assert found.value == pytest.approx(np.mean(found.scores))
    assert set(found.served) == set(range(len(found.groups)))


def test_a_poor_start_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search itself finds the best: here it starts from all tasks together, which is seldom good."""
    cases = [(seed, 5 + seed % 3, 2 + seed % 4) for seed in range(40)]
    tables = [np.random.default_rng(seed).normal(size=(tasks, tasks)) for seed, tasks, _ in cases]
    expected = [choose_groups(table, budget).value for table, (_, _, budget) in zip(tables, cases, strict=True)]
    monkeypatch.setattr(group_search, "_exchanged", lambda scores, *_: (int(np.isfinite(scores).sum(1).argmax()),))
    for table, (_, _, budget), best in zip(tables, cases, expected, strict=True):
        assert choose_groups(table, budget).value == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(("tasks", "budget"), [(7, 2), (7, 3), (7, 4), (8, 3)])
def test_as_good_as_an_integer_program(tasks: int, budget: int) -> None:
    affinity = np.random.default_rng(tasks + budget).normal(size=(tasks, tasks))
    assert choose_groups(affinity, budget).value == pytest.approx(best_of_program(affinity, budget), rel=1e-9)


def test_planted_pairs_are_found() -> None:
    affinity = np.full((6, 6), -0.2)
    for a, b in ((0, 3), (1, 4), (2, 5)):
        affinity[a, b] = affinity[b, a] = 0.5
    found = choose_groups(affinity, 3)
    assert (set(found.groups), found.value) == ({(0, 3), (1, 4), (2, 5)}, 0.5)
    many = np.kron(affinity, np.ones((3, 3)))  # 18 tasks, in blocks of 3 that harm their own kind a little
    assert choose_groups(many, 3).value == pytest.approx((3 * 0.5 - 2 * 0.2) / 5)


def test_tasks_that_all_harm_each_other_are_trained_alone() -> None:
    found = choose_groups(np.full((3, 3), -1.0), 3)
    assert (set(found.groups), found.value) == ({(0,), (1,), (2,)}, 0.0)
    assert choose_groups(np.full((3, 3), -1.0), 3, alone=-2.0).value == -1.0


def test_a_task_may_only_help() -> None:
    """0 and 1 are best helped by 2, and 2 by no one: it stands in two groups and is answered in one."""
    affinity = np.array([[0.0, -1.0, 0.1], [-1.0, 0.0, 0.2], [1.0, 1.0, 0.0]])
    found = choose_groups(affinity, 2)
    assert (set(found.groups), found.scores) == ({(0, 2), (1, 2)}, (1.0, 1.0, 0.2))


def test_the_diagonal_is_not_read() -> None:
    affinity = np.random.default_rng(0).normal(size=(5, 5))
    assert choose_groups(affinity, 2) == choose_groups(affinity + 9 * np.eye(5), 2)


def test_twelve_tasks_are_exact_and_more_are_close() -> None:
    affinity = np.random.default_rng(0).normal(size=(12, 12))
    exact = choose_groups(affinity, 3)
    assert exact.exact
    affinity[:, 11] = affinity[11, :] = 0
    more = np.zeros((13, 13))
    more[:12, :12] = affinity
    greedy = choose_groups(more, 3)
    assert not greedy.exact
    best = choose_groups(affinity, 3).value * 12 / 13
    assert 0.9 * best <= greedy.value


def test_a_search_that_is_cut_short_says_so() -> None:
    affinity = np.random.default_rng(1).normal(size=(10, 10))
    found = choose_groups(affinity, 4, nodes=1)
    assert not found.exact
    assert found.value <= choose_groups(affinity, 4).value
    assert {j for group in found.groups for j in group} == set(range(10))


def test_undominated_groups_are_those_that_no_other_beats() -> None:
    scores = group_scores(every_group(4), np.random.default_rng(0).normal(size=(4, 4)), np.zeros(4))
    expected = [not any((other >= one).all() for k, other in enumerate(scores) if k != n) for n, one in enumerate(scores)]
    assert undominated(scores).tolist() == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize(
    ("affinity", "budget", "words"),
    [
        (np.zeros((2, 3)), 1, "affinities"),
        (np.zeros((0, 0)), 1, "affinities"),
        (np.zeros((2, 2)), 0, "at least 1"),
        ([[0, np.nan]], 1, "finite"),
    ],
)
def test_bad_input_is_refused(affinity: object, budget: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose_groups(affinity, budget)  # type: ignore[arg-type]
