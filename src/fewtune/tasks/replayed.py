"""Episodes whose query is the support itself: with an augmented query view, finetuning on a few rows against their own copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.supervised import without_support
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Every row of a lone task is support and query at once; only its view tells the two apart (the pseudo-query of P>M>F).

    The law that support and query are disjoint does not hold here: that is the point.
    Reference: Hu et al., "Pushing the limits of simple pipelines for few-shot learning", CVPR 2022, section 3.3.
    """

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:  # noqa: ARG002
        if len(tasks) != 1:
            raise InputError(f"Replayed takes all rows of one task, found {len(tasks)} tasks: use it inside Adapt.")
        mine: Integers = tasks.slots_of(0)
        position = np.concatenate([np.arange(tasks.start[s], tasks.start[s] + tasks.count[s]) for s in mine])
        label = np.repeat(np.arange(len(mine)), tasks.count[mine])
        shape = (count, len(position))
        classes = np.tile(tasks.slot_class[mine], (count, 1))
        whole = without_support(
            tasks, np.broadcast_to(position, shape), np.broadcast_to(label, shape), classes, np.zeros(count, dtype=np.int64)
        )
        return Episodes(whole.query, whole.query_label, whole.query, whole.query_label, whole.classes, whole.task, whole.kind)
