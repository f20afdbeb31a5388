"""Candidate tasks: what a selection chooses from. Made of sources, `Tasks` of one task a source (`source_tasks`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.draw import choose
from fewtune.tasks.sampler import at_least
from fewtune.tasks.task import Tasks


def few_rows(tasks: Tasks, space: RowSpace, most: int) -> Tasks:
    """The same tasks with `most` rows a class at most: those whose content digests come first.

    They are the same rows in every task, run and order of reading, so that a class is embedded and summed once; and nearly the same when
    rows are added. Rows of equal content go by their place. Raises InputError where `most` is below 1.
    """
    at_least("most (rows of a class)", most, 1)
    rows: list[int] = tasks.order.tolist()

    def content(place: int) -> tuple[bytes, int]:
        source, local = space.locate(rows[place])
        return space.sources[source].row_digests[local], rows[place]

    places = []
    for start, count in zip(tasks.start.tolist(), tasks.count.tolist(), strict=True):
        mine: Iterable[int] = range(start, start + count)
        if count > most:  # a file is read for its digest only where there is a choice
            mine = sorted(sorted(mine, key=content)[:most])
        places.append(np.fromiter(mine, dtype=np.int64))
    chosen = np.concatenate(places)
    counts = np.array([len(mine) for mine in places], dtype=np.int64)
    targets = None if tasks.targets is None else tasks.targets[chosen]
    return replace(tasks, order=tasks.order[chosen], start=np.cumsum([0, *counts[:-1]]), count=counts, targets=targets)


def candidate_tasks(tasks: Tasks, ways: int, count: int, key: Key) -> Tasks:
    """`count` candidates of `ways` classes from each source, drawn uniformly, no set of classes twice; their names are "SOURCE/i".

    A source of fewer classes gives tasks of all of its classes, one of fewer sets gives each of them once; one of a single class gives
    none. What a source gives depends on its own classes, its name and the key, not on the other sources. Slots are shared. Raises
    InputError where no source has two classes.
    """
    at_least("ways", ways, 2)
    at_least("count (of candidates a source)", count, 1)
    tasks.need_classes("candidate_tasks")
    slots: list[Integers] = []
    names: list[str] = []
    for source, title in enumerate(_told_apart(tasks.names)):
        mine = tasks.slots_of(source)
        if len(mine) < 2:
            continue
        sets = _distinct_sets(len(mine), min(ways, len(mine)), count, key.child("candidates", title))
        slots += list(mine[sets])
        names += [f"{title}/{i}" for i in range(len(sets))]
    if not slots:
        raise InputError(f"no source of {', '.join(tasks.names)} has two classes: expected at least 2 to make candidate tasks of.")
    return _made(tasks, slots, names)


def source_of(name: str) -> str:
    """The source in the name of a candidate, to show it: the part before "/i", or else before the first ":"."""
    stem, _, number = name.rpartition("/")
    return stem if stem and number.isdecimal() else name.partition(":")[0]


def _distinct_sets(size: int, ways: int, count: int, key: Key) -> Integers:
    """[n, ways]: `count` distinct sets of `ways` of `size` in random order, each sorted; all there are where these are fewer."""
    total = math.comb(size, ways)
    if total <= 4 * count:
        every = np.array(list(itertools.combinations(range(size), ways)), dtype=np.int64)
        return every[key.child("order").generator().permutation(total)[:count]]
    found: dict[bytes, Integers] = {}
    first = 0
    while len(found) < count:
        drawn = np.sort(choose(key, np.arange(first, first + count), np.full((count, 1), size), ways)[:, 0], axis=1)
        first += count
        for one in drawn:
            found.setdefault(one.tobytes(), one)
    return np.stack(list(found.values())[:count])


def _told_apart(names: Iterable[str]) -> list[str]:
    """The names, each once: one that comes again is numbered."""
    found: dict[str, None] = {}
    for name in names:
        number, unique = 1, name
        while unique in found:
            number += 1
            unique = f"{name} ({number})"
        found[unique] = None
    return list(found)


def _made(tasks: Tasks, slots: list[Integers], names: list[str]) -> Tasks:
    bounds = np.cumsum([0, *map(len, slots)])
    return replace(tasks, slots=np.concatenate(slots), bounds=bounds, names=tuple(names), taken=None, anchored=False)
