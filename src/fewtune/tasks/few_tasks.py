"""Few-shot episodes of a fixed number of tasks, which come again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.keys import Key
from fewtune.tasks.assemble import assemble_rectangle
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.sampler import at_least, pick_slots, pick_tasks
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class FewTasks:
    """`tasks` sets of `ways` classes, drawn uniformly without replacement; episode i is of set i modulo `tasks`.

    `shots` support and `queries` query rows of each class are drawn anew for each episode. The sets are those of `InSequence` with the
    same key and ways, so that methods which take their tasks in sequence or in turn learn from the same tasks. Collections with fewer
    classes and classes with fewer rows are left out.

    Reference: Wang et al., "Model-Agnostic Multitask Fine-tuning for Few-shot Vision-Language Transfer Learning", 2022 (T training tasks
    for first-order MAML).
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    tasks: int = 10

    def __post_init__(self) -> None:
        at_least("ways", self.ways, 2)
        at_least("shots", self.shots, 0)
        at_least("queries", self.queries, 1)
        at_least("tasks", self.tasks, 1)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a collection) without which they are left out."""
        return self.shots + self.queries, self.ways

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes("FewTasks")
        usable = tasks.keep(*self.needs)
        episodes = np.arange(first, first + count)
        number = episodes % self.tasks
        slots = pick_slots(usable, key, number, pick_tasks(usable, key, number), self.ways)
        return assemble_rectangle(usable, key, episodes, number, slots, self.shots, self.queries)
