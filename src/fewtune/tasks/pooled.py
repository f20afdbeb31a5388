"""Supervised learning as episodes: an empty support, and batches of rows as the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Supervised batches: every class of a lone task, no support, `batch` rows as the query (0: all of them, in every batch).

    Rows come in a new random order each epoch; classes keep their order, so a label is the class's place in the task.
    """

    batch: int = 0

    def __post_init__(self) -> None:
        if self.batch < 0:
            raise InputError(f"expected batch of at least 0, found {self.batch}.")

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        if len(tasks) != 1:
            raise InputError(f"expected one task to draw batches from, found {len(tasks)}.")
        mine = tasks.slots_of(0)
        rows = np.concatenate([tasks.order[tasks.start[s] : tasks.start[s] + tasks.count[s]] for s in mine])
        labels = np.repeat(np.arange(len(mine)), tasks.count[mine])
        size = min(self.batch or len(rows), len(rows))
        place = np.stack([self._places(key, number, size, len(rows)) for number in range(first, first + count)])
        none = torch.zeros(count, 0, dtype=torch.int64)
        classes = torch.from_numpy(np.tile(tasks.slot_class[mine], (count, 1)))
        query, label = torch.from_numpy(rows[place]), torch.from_numpy(labels[place])
        return Episodes(none, none, query, label, classes, torch.zeros(count, dtype=torch.int64))

    def _places(self, key: Key, number: int, size: int, total: int) -> Integers:
        """Batch `number`: consecutive places of the endless sequence of epochs, each a permutation keyed by its number."""
        if size == total:
            return np.arange(total)
        wanted = number * size + np.arange(size)
        orders = {e: key.child("epoch", int(e)).generator().permutation(total) for e in np.unique(wanted // total)}
        return np.array([orders[e][i] for e, i in zip(wanted // total, wanted % total, strict=True)])
