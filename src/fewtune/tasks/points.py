"""Few-shot regression: points of a task, some to learn from and others to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.assemble import rows_at, targets_of
from fewtune.tasks.draw import choose
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.sampler import Unit, at_least, check_unit, marks, pick_tasks
from fewtune.tasks.supervised import located
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class Points:
    """`shots` support and `queries` query rows of a task that is drawn uniformly; labels are the rows' targets, [E, S, L] and [E, Q, L].

    Tasks with fewer rows are left out. `task`: as in `Sampled`, but the tasks of the collection by default: they are given (a function
    each), not made by drawing classes. Raises InputError where the tasks are of classes.
    """

    shots: int = 10
    queries: int = 10
    task: Unit = "collection"

    def __post_init__(self) -> None:
        at_least("shots", self.shots, 0)
        at_least("queries", self.queries, 1)
        check_unit(self.task)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        if tasks.targets is None:
            raise InputError("Points draws rows with float or multi-hot targets, but these are of classes: use Sampled or Pooled.")
        draws, sizes = self.shots + self.queries, tasks.sizes()
        if not (sizes >= draws).any():
            raise InputError(f"expected a task of {draws} rows or more (shots + queries), found at most {sizes.max()}: ask for fewer.")
        usable = tasks
        if (sizes < draws).any():
            usable = tasks.take(np.flatnonzero(sizes >= draws))
            sizes = usable.sizes()
        episodes = np.arange(first, first + count)
        task = pick_tasks(usable, key, episodes)
        place = choose(key.child("rows"), episodes, sizes[task][:, None], draws)[:, 0]
        position, _ = located(usable, usable.slots, (np.cumsum(sizes) - sizes)[task][:, None] + place)
        rows = torch.from_numpy(rows_at(usable, position))
        targets, places, kind = targets_of(usable, position, task)
        S, marked = self.shots, torch.from_numpy(marks(self.task, usable, episodes, task))
        return Episodes(rows[:, :S], targets[:, :S], rows[:, S:], targets[:, S:], places, marked, kind)
