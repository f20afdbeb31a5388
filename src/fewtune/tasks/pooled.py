"""Supervised learning as episodes: an empty support, and batches of rows as the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.epochs import epoch_batches
from fewtune.tasks.sampler import at_least
from fewtune.tasks.supervised import located, without_support
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Supervised batches: all rows of all tasks together, no support, `batch` rows as the query (0: all of them, in every batch).

    Rows come in a new random order each epoch. Classes keep their order, those of the first task before those of the second; a class
    that several tasks share is one class. A label is the class's place among them. Where the tasks hold targets, these are the labels.
    """

    batch: int = 0

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 0)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_one_kind("Pooled")
        slots, classes, place = pooled_classes(tasks)
        total = int(tasks.count[slots].sum())
        drawn = epoch_batches(key, np.arange(first, first + count), min(self.batch or total, total), total)
        position, which = located(tasks, slots, drawn)
        return without_support(tasks, position, place[which], np.tile(classes, (count, 1)), np.zeros(count, dtype=np.int64))


@final
@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Batches of pairs, a row and its class's text, for contrastive finetuning: `batch` rows as `Pooled` draws them, no support.

    The classes of an episode are those of its rows, each once, in the order in which they come, so a class that is not in the batch
    is no negative; they are padded to the width of the batch. `query_label` says which text is a row's own (see `Contrast`).
    Reference: Goyal et al., "Finetune like you pretrain", CVPR 2023. Departs: there rows of one class are each other's negatives; here
    they share one text.
    """

    batch: int = 32

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 2)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes("Pairs")
        slots, classes, place = pooled_classes(tasks)
        total = int(tasks.count[slots].sum())
        size = min(self.batch, total)
        drawn = epoch_batches(key, np.arange(first, first + count), size, total)
        position, which = located(tasks, slots, drawn)
        met = np.full((count, size), -1)
        label = np.zeros((count, size), dtype=np.int64)
        for e, row in enumerate(place[which]):
            present, at, inverse = np.unique(row, return_index=True, return_inverse=True)
            order = np.argsort(at)
            met[e, : len(present)] = classes[present[order]]
            label[e] = np.argsort(order)[inverse]
        return without_support(tasks, position, label, met, np.zeros(count, dtype=np.int64))


def pooled_classes(tasks: Tasks) -> tuple[Integers, Integers, Integers]:
    """(slots, classes, place): all tasks' slots and their classes, each once, in the tasks' order, and each slot's place in them."""
    slots = tasks.slots[tasks.bounds[0] : tasks.bounds[-1]]
    if len(tasks) == 1:
        return slots, tasks.slot_class[slots], np.arange(len(slots))
    slots, _ = _each_once(slots)
    return slots, *_each_once(tasks.slot_class[slots])


def _each_once(values: Integers) -> tuple[Integers, Integers]:
    """(the distinct values in the order in which they come, the place of each value among them)."""
    distinct, at, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(at)
    return distinct[order], np.argsort(order)[inverse]
