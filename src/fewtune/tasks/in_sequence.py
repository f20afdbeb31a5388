"""Tasks one after another, each for some epochs of batches: model-agnostic multitask finetuning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.assemble import slot_positions
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.epochs import epoch_order
from fewtune.tasks.sampler import at_least, pick_slots, pick_tasks
from fewtune.tasks.supervised import without_support
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class InSequence:
    """Task after task: `ways` classes drawn uniformly without replacement, `rows` rows of each, `epochs` epochs of batches of `batch`.

    Episode i belongs to task i // `steps_per_task`, which is its `task`; the rows of a task are fixed and come exactly once an epoch
    (the last batch of an epoch is smaller, padded). No support: there is no split in support and query. A phase whose
    optimizer begins anew with each task has `restart` = `steps_per_task`.
    If there are several collections, each task draws one of them, all equally likely, and its classes from it. `ragged`: a collection with
    fewer classes gives all of them, and a class with fewer rows gives what it has; such a task takes as many steps as the others, so its
    rows come in more epochs. Without `ragged` they are left out.

    Reference: Wang et al., "Model-Agnostic Multitask Fine-tuning for Few-shot Vision-Language Transfer Learning", 2022.
    """

    ways: int = 5
    rows: int = 60
    epochs: int = 8
    batch: int = 32
    ragged: bool = False

    def __post_init__(self) -> None:
        at_least("ways", self.ways, 2)
        for name in ("rows", "epochs", "batch"):
            at_least(name, getattr(self, name), 1)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a collection) without which they are left out."""
        return (1, 2) if self.ragged else (self.rows, self.ways)

    @property
    def steps_per_task(self) -> int:
        """Batches from the first of a task to its last."""
        return self.epochs * math.ceil(self.ways * self.rows / self.batch)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes("InSequence")
        usable = tasks.keep(*self.needs)
        owner, step = np.divmod(np.arange(first, first + count), self.steps_per_task)
        numbers, back = np.unique(owner, return_inverse=True)
        slots = pick_slots(usable, key, numbers, pick_tasks(usable, key, numbers), self.ways)
        at = slot_positions(usable, key, numbers, slots, self.rows).reshape(len(numbers), -1)
        there = np.argsort(at < 0, axis=1, kind="stable")  # the places that hold a row first: among those an epoch is drawn
        totals = (at >= 0).sum(axis=1)[back]
        each = zip(owner.tolist(), step.tolist(), totals.tolist(), strict=True)
        drawn = np.stack([self._places(key, *one) for one in each])
        place = np.where(drawn >= 0, np.take_along_axis(there[back], drawn, axis=1), -1)
        position = np.where(place >= 0, np.take_along_axis(at[back], place, axis=1), -1)
        classes = np.where(slots >= 0, usable.slot_class[slots], -1)[back]
        return without_support(usable, position, place // self.rows, classes, owner)

    def _places(self, key: Key, task: int, step: int, total: int) -> Integers:
        """[min(batch, ways x rows)] places among the `total` rows of a task, -1 past the end of an epoch."""
        epoch, number = divmod(step, math.ceil(total / self.batch))
        part = epoch_order(key.child("sequence", task), epoch, total)[number * self.batch : (number + 1) * self.batch]
        padded = np.full(min(self.batch, self.ways * self.rows), -1)
        padded[: len(part)] = part
        return padded
