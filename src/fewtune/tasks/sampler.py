"""Sampler: the axis of what draws episodes, and the draws that samplers share."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.tasks.draw import choose
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks

Unit: TypeAlias = Literal["episode", "collection"]


@runtime_checkable
class Sampler(Protocol):
    """The axis of samplers. Every final class of it passes the laws in tests/laws/test_samplers.py.

    `draw` gives the episodes first .. first + count - 1. Episode i is a function of (tasks, key, i) alone, so it does not depend on the
    batch it is drawn in.
    """

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes: ...


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"expected {name} of at least {least}, found {value}.")


def check_unit(unit: str) -> None:
    if unit not in ("episode", "collection"):
        raise InputError(f"task is 'episode' or 'collection', found {unit!r}.")


def marks(unit: Unit, tasks: Tasks, episodes: Integers, task: Integers) -> Integers:
    """What each episode [E] is marked with as a task: its own number, or that of the task of the collection that it was drawn from."""
    return episodes if unit == "episode" else tasks.ids[task]


def pick_tasks(tasks: Tasks, key: Key, episodes: Integers) -> Integers:
    """A task for each episode, each equally likely: a source of 10 classes is drawn as often as one of 1,000."""
    return key.child("task").below(len(tasks), episodes.astype(np.uint64))


def pick_slots(tasks: Tasks, key: Key, episodes: Integers, task: Integers, ways: int) -> Integers:
    """[E, ways] slots of each episode's task without replacement; -1 past the task's classes."""
    sizes = np.diff(tasks.bounds)[task]
    place = choose(key.child("classes"), episodes, sizes[:, None], ways)[:, 0]
    return np.where(place >= 0, tasks.slots[np.minimum(tasks.bounds[task][:, None] + place, len(tasks.slots) - 1)], -1)
