"""Means of classes and of tasks, computed in parts: each row is read once, however many candidates there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fewtune.data.examples import Integers
from fewtune.tasks.selection.evidence import Evidence, Floats
from fewtune.tasks.task import Tasks

_ROWS = 1 << 14  # rows that are read at a time
_TASKS = 1 << 13  # tasks whose means are held in memory at a time


def slot_sums(tasks: Tasks, evidence: Evidence) -> Floats:
    """The sum of the features of each slot [slots, D]; zeros for slots of no task."""
    from scipy.sparse import csr_array  # takes long to import

    used = np.unique(tasks.slots)
    sums = np.zeros((len(tasks.count), evidence.support.shape[1]))
    ends = np.cumsum(tasks.count[used])
    for part in _parts(ends):
        mine = used[part]
        rows = [tasks.order[tasks.start[s] : tasks.start[s] + tasks.count[s]] for s in mine]
        read = evidence.read(np.concatenate(rows))
        bounds = np.cumsum([0, *map(len, rows)])
        sums[mine] = csr_array((np.ones(len(read)), np.arange(len(read)), bounds), shape=(len(mine), len(read))) @ read
    return sums


def task_means(tasks: Tasks, sums: Floats) -> Iterator[Floats]:
    """The means of the tasks' rows, some tasks [t, D] at a time, in their order."""
    from scipy.sparse import csr_array  # takes long to import

    sizes = np.maximum(tasks.sizes(), 1)
    for first in range(0, len(tasks), _TASKS):
        last = min(first + _TASKS, len(tasks))
        bounds = tasks.bounds[first : last + 1]
        slots = tasks.slots[bounds[0] : bounds[-1]]
        chosen = csr_array((np.ones(len(slots)), slots, bounds - bounds[0]), shape=(last - first, len(sums)))
        yield np.asarray(chosen @ sums) / sizes[first:last, None]


def similarities(tasks: Tasks, evidence: Evidence) -> Floats:
    """cosine(mu_0, mu_i) of the target's mean with the mean of each task [T]; 0 where a mean is zero."""
    means = task_means(tasks, slot_sums(tasks, evidence))
    return np.concatenate([cosines(some, evidence.centre[None])[:, 0] for some in means])


def cosines(a: Floats, b: Floats) -> Floats:
    """The cosines of rows [n, D] with rows [m, D], as [n, m]; 0 with a row of zeros."""
    cosine: Floats = unit(a) @ unit(b).T
    return cosine


def unit(rows: Floats) -> Floats:
    """Rows [n, D] at length 1; zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return found


def _parts(ends: Integers) -> Iterator[slice]:
    """Slices of slots with about `_ROWS` rows each, by the running number of rows."""
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + _ROWS, side="right")), first + 1)
        yield slice(first, last)
        first = last
