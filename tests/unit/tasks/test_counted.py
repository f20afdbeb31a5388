"""The number of distinct tasks, against all of them."""

from __future__ import annotations

import itertools

import pytest

from fewtune.errors import InputError
from fewtune.tasks import distinct_tasks


def test_all_sets_of_classes() -> None:
    for classes in range(1, 8):
        for ways in range(1, classes + 1):
            assert distinct_tasks(classes, ways) == len(list(itertools.combinations(range(classes), ways)))


@pytest.mark.parametrize(("classes", "ways"), [(5, 0), (5, 6), (0, 1)])
def test_what_is_no_task_is_refused(classes: int, ways: int) -> None:
    with pytest.raises(InputError, match="ways"):
        distinct_tasks(classes, ways)
