"""Supervised batches as episodes: an empty support, rows and what they are labelled as the query."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.tasks.assemble import rows_at, targets_of
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks


def located(tasks: Tasks, slots: Integers, place: Integers) -> tuple[Integers, Integers]:
    """Where the rows of some slots lie that are counted one slot after another: (position in `tasks.order`, which of the slots)."""
    count = tasks.count[slots]
    ends = np.cumsum(count)
    which = np.searchsorted(ends, place, side="right")
    return tasks.start[slots][which] + place - (ends - count)[which], which


def without_support(tasks: Tasks, position: Integers, label: Integers, classes: Integers, task: Integers) -> Episodes:
    """Episodes whose query are the rows at `position` [E, Q] of `tasks.order`, -1 padding; `label` [E, Q], `classes` [E, K].

    Where the tasks hold targets, these are the labels, and the classes are the places of the targets.
    """
    count = len(position)
    padding = position < 0
    rows = torch.from_numpy(rows_at(tasks, position))
    none = torch.zeros(count, 0, dtype=torch.int64)
    owner = torch.from_numpy(task)
    if tasks.targets is None:
        return Episodes(none, none, rows, torch.from_numpy(np.where(padding, -1, label)), torch.from_numpy(classes), owner)
    targets, places, kind = targets_of(tasks, position, task)
    return Episodes(none, targets[:, :0], rows, targets, places, owner, kind)
