"""From chosen classes and numbers of rows to Episodes."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.draw import choose
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
    """Ragged episodes: `slots`, `shots` and `queries` are [E, K]; padding is -1 and stands at the end of each axis. `marked` as above."""
    draws = int((shots + queries).max(initial=1))
    rows = _rows(tasks, key, episodes, slots, draws)
    place = np.arange(draws)
    label = np.broadcast_to(np.arange(slots.shape[1])[None, :, None], rows.shape)
    inside = place < shots[..., None]
    asked = ~inside & (place < (shots + queries)[..., None])
    classes = np.where(slots >= 0, tasks.slot_class[slots], -1)
    return Episodes(*_packed(rows, label, inside), *_packed(rows, label, asked), torch.from_numpy(classes), torch.from_numpy(marked))


def _packed(rows: Integers, label: Integers, wanted: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The wanted entries of each episode moved to the front, in order, the rest cut or -1."""
    flat = wanted.reshape(len(wanted), -1)
    width = int(flat.sum(axis=1).max(initial=0))
    order = np.argsort(~flat, axis=1, kind="stable")[:, :width]
    kept = np.take_along_axis(flat, order, axis=1)
    both = (np.take_along_axis(part.reshape(len(part), -1), order, axis=1) for part in (rows, label))
    first, second = (torch.from_numpy(np.where(kept, part, -1)) for part in both)
    return first, second
