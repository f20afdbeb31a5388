"""Twins: batches in which every row comes more than once, to be seen in as many views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.epochs import epoch_order
from fewtune.tasks.pooled import pooled_classes
from fewtune.tasks.sampler import at_least
from fewtune.tasks.supervised import located, without_support
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class Twins:
    """Batches of `batch` different rows, each `copies` times: the query is all of them, then all of them again, with no support.

    With an augmented `query_view`, each time is another view, so that a loss can compare views of one row (`NtXent`). Rows come in a new
    random order each epoch, whose last rows are left out where they fill no batch. Classes and labels are as in `Pooled`. The law that a
    row comes once does not hold here: that is the point.
    Reference: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, algorithm 1.
    """

    batch: int = 128
    copies: int = 2

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 2)
        at_least("copies", self.copies, 2)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_one_kind("Twins")
        slots, classes, place = pooled_classes(tasks)
        total = int(tasks.count[slots].sum())
        size = min(self.batch, total)
        drawn = np.stack([_batch(key, number, size, total) for number in range(first, first + count)])
        position, which = located(tasks, slots, drawn)
        again, label = (np.tile(side, (1, self.copies)) for side in (position, place[which]))
        return without_support(tasks, again, label, np.tile(classes, (count, 1)), np.zeros(count, dtype=np.int64))


def _batch(key: Key, number: int, size: int, total: int) -> Integers:
    """Places [size] of a batch: a part of its epoch's order."""
    epoch, part = divmod(number, total // size)
    return epoch_order(key, epoch, total)[part * size :][:size].astype(np.int64)
