"""The number of distinct tasks and the chance that random ones see every class, against all of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks import FewTasks, class_rows, coverage, distinct_tasks, tasks_needed


def test_all_sets_of_classes() -> None:
    for classes in range(1, 8):
        for ways in range(1, classes + 1):
            assert distinct_tasks(classes, ways) == len(list(itertools.combinations(range(classes), ways)))


@pytest.mark.parametrize(("classes", "ways"), [(5, 0), (5, 6), (0, 1)])
def test_what_is_no_task_is_refused(classes: int, ways: int) -> None:
    with pytest.raises(InputError, match="ways"):
        distinct_tasks(classes, ways)


def test_the_chance_of_all_classes_is_the_share_of_all_sequences_of_tasks() -> None:
    for classes, ways, most in ((2, 1, 6), (3, 1, 4), (3, 2, 4), (4, 2, 4), (4, 3, 4), (5, 5, 2)):
        sets = list(itertools.combinations(range(classes), ways))
        for tasks in range(most + 1):
            whole = [len(set(itertools.chain(*drawn))) == classes for drawn in itertools.product(sets, repeat=tasks)]
            assert coverage(classes, ways, tasks) == pytest.approx(sum(whole) / len(whole), abs=1e-15)


def test_the_chance_of_all_classes_as_it_stands_for_the_paper() -> None:
    """5 of 10 classes: .711 after five tasks, where the paper says more than .95, which is that of a single class."""
    found = [round(coverage(10, 5, tasks), 3) for tasks in (5, 8, 10, 14)]
    assert found == [0.711, 0.961, 0.990, 0.999] and 1 - (1 - 5 / 10) ** 5 > 0.95


def test_the_chance_of_all_classes_of_tasks_as_they_are_drawn() -> None:
    """Simulated by the sampler: 4,000 runs of 5 tasks of 5 of 10 classes."""
    space = RowSpace([make_examples(Vectors(np.zeros((10, 1), dtype=np.float32)), np.arange(10))])
    runs = 4000
    drawn = FewTasks(ways=5, shots=0, queries=1, tasks=5 * runs).draw(class_rows(space), key(0), 0, 5 * runs).classes.numpy()
    whole = np.mean([len(set(one)) == 10 for one in drawn.reshape(runs, -1).tolist()])
    assert abs(whole - 0.7114) < 4 * math.sqrt(0.7114 * 0.2886 / runs)


@pytest.mark.parametrize(
    ("classes", "ways", "each", "every"),
    [(10, 5, 10, 14), (10, 8, 5, 6), (10, 9, 3, 4), (10, 10, 1, 1), (20, 5, 25, 35)],  # by hand from ln(.001) = -6.9078, ln(.001 / M)
)
def test_how_many_tasks_are_needed(classes: int, ways: int, each: int, every: int) -> None:
    assert tasks_needed(classes, ways) == each and tasks_needed(classes, ways, bound="union") == every


@pytest.mark.parametrize(("classes", "ways", "miss"), [(10, 5, 0.001), (10, 2, 0.05), (6, 4, 0.2), (7, 3, 1e-6), (40, 39, 0.5)])
def test_each_bound_is_the_least_number_that_keeps_it(classes: int, ways: int, miss: float) -> None:
    gone = (classes - ways) / classes
    each, every, exact = (tasks_needed(classes, ways, miss=miss, bound=bound) for bound in ("per_class", "union", "exact"))
    assert gone**each <= miss < gone ** (each - 1)
    assert classes * gone**every <= miss < classes * gone ** (every - 1)
    assert coverage(classes, ways, exact) >= 1 - miss > coverage(classes, ways, exact - 1)
    assert exact <= every


def test_what_is_no_bound_is_refused() -> None:
    for options in ({"miss": 0.0}, {"miss": 1.0}, {"bound": "none"}):
        with pytest.raises(InputError, match=r"probability|unknown bound"):
            tasks_needed(10, 5, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="from 1 to 10 ways"):
        tasks_needed(10, 11)
    with pytest.raises(InputError, match="at least 0"):
        coverage(10, 5, -1)
