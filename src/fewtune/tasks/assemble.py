"""From chosen classes and numbers of rows to Episodes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.draw import choose, choose_each
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks


def slot_positions(tasks: Tasks, key: Key, episodes: Integers, slots: Integers, draws: int) -> Integers:
    """[E, K, draws] distinct positions in `tasks.order` of each slot's rows, -1 where the slot is padding or has fewer rows."""
    place = choose(key.child("rows"), episodes, np.where(slots >= 0, tasks.count[slots], 0), draws)
    position = np.minimum(tasks.start[slots][..., None] + place, len(tasks.order) - 1)
    return position if (place >= 0).all() else np.where(place >= 0, position, -1)


def rows_at(tasks: Tasks, position: Integers) -> Integers:
    """The rows of the row space at positions of `tasks.order` (any shape), -1 where the position is."""
    rows = tasks.order[position]
    return rows if (position >= 0).all() else np.where(position >= 0, rows, -1)


def targets_of(tasks: Tasks, position: Integers, task: Integers) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(targets [E, R, L] of the rows at `position` [E, R], classes [E, L], kind [E]) of episodes of the tasks numbered `task` [E].

    The classes are the places of the targets; of label columns they are the ids of the task's outputs, and only then there is a kind.
    Padding is NaN (-1 of multi-hot targets).
    """
    assert tasks.targets is not None
    found = tasks.targets[position]
    missing = np.nan if found.dtype.kind == "f" else -1
    found = np.where((position < 0)[..., None], np.asarray(missing, dtype=found.dtype), found)
    place = np.arange(found.shape[-1])
    if tasks.outputs is None:
        return torch.from_numpy(found), torch.from_numpy(place).repeat(len(position), 1), None
    slot, outputs = tasks.slots[tasks.bounds[task]], tasks.outputs
    ids = np.where(place < outputs.count[slot][:, None], outputs.first[slot][:, None] + place, -1)
    return torch.from_numpy(found), torch.from_numpy(ids), torch.from_numpy(outputs.kind[slot])


def _rows(tasks: Tasks, key: Key, episodes: Integers, slots: Integers, draws: int) -> Integers:
    """[E, K, draws] distinct rows of each slot."""
    return rows_at(tasks, slot_positions(tasks, key, episodes, slots, draws))


def assemble_rectangle(tasks: Tasks, key: Key, episodes: Integers, marked: Integers, slots: Integers, shots: int, queries: int) -> Episodes:
    """Episodes with the same numbers of rows for every class: support and query lie class after class. `marked` [E]: their `task`."""
    rows = _rows(tasks, key, episodes, slots, shots + queries)
    count, ways = slots.shape
    label = np.arange(ways)

    def side(part: Integers, each: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = np.broadcast_to(np.repeat(label, each), (count, ways * each))
        return torch.from_numpy(part.reshape(count, -1)), torch.from_numpy(labels.copy())

    support, support_label = side(rows[:, :, :shots], shots)
    query, query_label = side(rows[:, :, shots:], queries)
    return Episodes(support, support_label, query, query_label, torch.from_numpy(tasks.slot_class[slots]), torch.from_numpy(marked))


def assemble(tasks: Tasks, key: Key, episodes: Integers, marked: Integers, slots: Integers, shots: Integers, queries: Integers) -> Episodes:
    """Ragged episodes: `slots`, `shots` and `queries` are [E, K]; padding is -1 and stands at the end of each axis. `marked` as above.

    Shots and queries together are at most the rows of their slot.
    """
    draws = shots + queries
    place = choose_each(key.child("rows"), episodes, np.where(slots >= 0, tasks.count[slots], 0), draws)
    rows = tasks.order[np.repeat(tasks.start[slots].reshape(-1), draws.reshape(-1)) + place]
    classes = np.where(slots >= 0, tasks.slot_class[slots], -1)
    support, query = _sides(rows, shots, draws)
    return Episodes(*support, *query, torch.from_numpy(classes), torch.from_numpy(marked))


Side: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def _sides(rows: Integers, shots: Integers, draws: Integers) -> tuple[Side, Side]:
    """(rows, labels) of the support and of the query. `rows`: one slot's after another's, `draws` [E, K] each, the first `shots` of them
    support."""
    flat = draws.reshape(-1)
    lane = np.repeat(np.arange(len(flat)), flat)
    supports = np.arange(len(rows)) - (np.cumsum(flat) - flat)[lane] < shots.reshape(-1)[lane]
    label = lane % draws.shape[1]
    return _packed(rows[supports], label[supports], shots), _packed(rows[~supports], label[~supports], draws - shots)


def _packed(rows: Integers, label: Integers, counts: Integers) -> Side:
    """Rows and labels of one episode after another (`counts` [E, K] in all), each episode's at the front of its line, the rest -1."""
    each = counts.sum(axis=1)
    inside = np.arange(int(each.max(initial=0))) < each[:, None]
    both = tuple(np.full(inside.shape, -1, dtype=np.int64) for _ in range(2))
    for whole, part in zip(both, (rows, label), strict=True):
        whole[inside] = part
    return torch.from_numpy(both[0]), torch.from_numpy(both[1])
