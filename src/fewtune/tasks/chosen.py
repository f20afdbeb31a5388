"""A sampler on chosen tasks, and what chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from fewtune.errors import InputError, unknown
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.task import Tasks


@runtime_checkable
class Selection(Protocol):
    """The axis of task selection: some of the tasks, in an order of its own."""

    def select(self, tasks: Tasks) -> Tasks: ...


@final
@dataclass(frozen=True, kw_only=True)
class Named:
    """The tasks of these names, in this order. Raises InputError where there is none of a name."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"expected at least one name and each once, found {self.names}.")

    def select(self, tasks: Tasks) -> Tasks:
        for name in self.names:
            if name not in tasks.names:
                raise unknown("task", name, tasks.names)
        return tasks.take([i for name in self.names for i, known in enumerate(tasks.names) if known == name])


@final
@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What `sampler` draws from the tasks that `selection` chooses."""

    sampler: Sampler
    selection: Selection

    def resolved(self, tasks: Tasks) -> Chosen:
        """The same with the chosen tasks by their names: what a selection decided is decided once, before training, and on record.

        Raises InputError where two tasks share a name, so that names would not tell them apart.
        """
        names = self.selection.select(tasks).names
        if twice := sorted({name for name in names if tasks.names.count(name) > 1}):
            raise InputError(f"tasks are chosen by their names, but several are called {twice[0]!r}: give them names of their own.")
        return Chosen(sampler=self.sampler, selection=Named(names=names))

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        """From the selected tasks; a selection that has to think should be `resolved` before."""
        return self.sampler.draw(self.selection.select(tasks), key, first, count)


SELECTIONS = (Named,)
