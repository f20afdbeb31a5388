"""Hard episodes: classes that lie near each other in a feature space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.assemble import assemble_rectangle
from fewtune.tasks.draw import choose
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.sampler import Unit, at_least, check_unit, marks, pick_tasks
from fewtune.tasks.task import Tasks
from fewtune.words import option

SlotMeans: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]

_BLOCK = 1 << 8  # classes that are compared with all others at a time
_TESTED = option("--episode 'Hard(...)'", "episode=Hard(...)")


def slot_means(tasks: Tasks, features: SlotMeans) -> SlotMeans:
    """The mean feature of each slot (a class as a task sees it) [slots, D], float64; `features` [N, D] by row of the row space."""
    means = np.zeros((len(tasks.start), features.shape[1]))
    for slot in np.unique(tasks.slots).tolist():
        rows = tasks.order[tasks.start[slot] : tasks.start[slot] + tasks.count[slot]]
        means[slot] = features[rows].astype(np.float64).mean(axis=0)
    return means


def nearest_classes(tasks: Tasks, means: SlotMeans, most: int = 0) -> Tasks:
    """For each class of each task, a task of that class (the anchor) and its others, the nearest first: what `Hard` draws from.

    Near is a large cosine of the slots' `means` [slots, D] (`slot_means` of frozen features). `most`: how many others are kept (0: all).
    The new tasks carry the number (`ids`) of the task that they were made of.
    """
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    ordered = []
    for t in range(len(tasks)):
        mine = tasks.slots_of(t)
        near = unit[mine]
        for first in range(0, len(mine), _BLOCK):
            similarity = near[first : first + _BLOCK] @ near.T
            itself = np.arange(len(similarity))
            similarity[itself, first + itself] = np.inf
            order = np.argsort(-similarity, axis=1, kind="stable")
            ordered += list(mine[order[:, : most + 1] if most else order])
    owner = np.repeat(np.arange(len(tasks)), np.diff(tasks.bounds))
    bounds = np.cumsum([0, *(len(mine) for mine in ordered)])
    names = tuple(f"near {tasks.slot_class[mine[0]]}" for mine in ordered)
    return replace(tasks, slots=np.concatenate(ordered), bounds=bounds, names=names, taken=tasks.ids[owner], anchored=True)


@final
@dataclass(frozen=True, kw_only=True)
class Hard:
    """Hard episodes: a class and others among its nearest in feature space; draws from the tasks of `nearest_classes`.

    An anchor class is drawn uniformly; the other `ways` - 1 are drawn from its `among` nearest (0: exactly the nearest ones). `compare`
    measures nearness by the cosine between class means of the frozen backbone's features, over all rows that episodes may come from:
    that decides which classes meet in an episode, and no method sees it. `task`: as in `Sampled`. Raises InputError for other tasks.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    among: int = 0
    task: Unit = "episode"

    def __post_init__(self) -> None:
        at_least("ways", self.ways, 2)
        at_least("shots", self.shots, 0)
        at_least("queries", self.queries, 1)
        if self.among and self.among < self.ways - 1:
            raise InputError(f"expected among of 0 or at least ways - 1 = {self.ways - 1}, found {self.among}.")
        check_unit(self.task)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a task) without which they are left out."""
        return self.shots + self.queries, self.ways

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes(type(self).__name__)
        if not tasks.anchored:
            raise InputError(
                "Hard draws classes that are near each other, but these tasks do not say which are: "
                f"give it the tasks of nearest_classes(tasks, means), or test with {_TESTED}."
            )
        rows, ways = self.needs
        large = tasks.count[tasks.slots[tasks.bounds[:-1]]] >= rows  # an anchor that is too small has no episodes
        usable = (tasks.take(np.flatnonzero(large)) if large.any() else tasks).keep(rows, ways)
        episodes = np.arange(first, first + count)
        task = pick_tasks(usable, key, episodes)
        near = np.minimum(np.diff(usable.bounds)[task] - 1, self.among or self.ways - 1)
        others = 1 + choose(key.child("classes"), episodes, near[:, None], self.ways - 1)[:, 0]
        place = np.concatenate([np.zeros((count, 1), dtype=np.int64), others], axis=1)
        turned = choose(key.child("turn"), episodes, np.full((count, 1), self.ways), self.ways)[:, 0]
        slots = usable.slots[usable.bounds[task][:, None] + np.take_along_axis(place, turned, axis=1)]
        marked = marks(self.task, usable, episodes, task)
        return assemble_rectangle(usable, key, episodes, marked, slots, self.shots, self.queries)
