"""Multi-task learning as episodes: the tasks in turn, a batch of rows of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import unknown
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.epochs import epoch_batches
from fewtune.tasks.sampler import at_least
from fewtune.tasks.supervised import located, without_support
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class PerTask:
    """Episode i is a batch of task i mod T, of T tasks: T episodes in a row draw from every task once, whatever their sizes.

    No support; the query is `batch` rows (all of them in a smaller task, padded), in a new random order each time the task is through.
    A label is the class's place in its task; where the tasks hold targets, these are the labels.

    `order`: "turn", as above; "proportional" and "sqrt" draw the task of each episode by chance, in proportion to its rows or to the
    root of their number, and its rows at random: large tasks come more often, as where all data lies in one heap.
    """

    batch: int = 32
    order: Literal["turn", "proportional", "sqrt"] = "turn"

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        if self.order not in ("turn", "proportional", "sqrt"):
            raise unknown("order of tasks", self.order, ("turn", "proportional", "sqrt"))

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        sizes = tasks.sizes()
        width, ways = min(self.batch, int(sizes.max())), int(np.diff(tasks.bounds).max())
        position, label = np.full((count, width), -1), np.full((count, width), -1)
        classes = np.full((count, ways), -1)
        task, turn = self._tasks(sizes, key, np.arange(first, first + count))
        for e, (number, t) in enumerate(zip(turn.tolist(), task.tolist(), strict=True)):
            mine, total = tasks.slots_of(t), int(sizes[t])
            size = min(self.batch, total)
            drawn = epoch_batches(key.child("task", t), np.array([number]), size, total)[0]
            position[e, :size], label[e, :size] = located(tasks, mine, drawn)
            classes[e, : len(mine)] = tasks.slot_class[mine]
        return without_support(tasks, position, label, classes, task)

    def _tasks(self, sizes: Integers, key: Key, episodes: Integers) -> tuple[Integers, Integers]:
        """(the task of each episode, the number of the batch of it)."""
        if self.order == "turn":
            return episodes % len(sizes), episodes // len(sizes)
        chance = np.cumsum(sizes if self.order == "proportional" else np.sqrt(sizes))
        drawn = key.child("task").uniform(episodes.astype(np.uint64)) * chance[-1]
        return np.searchsorted(chance, drawn, side="right"), episodes  # an episode knows nothing of those before it
