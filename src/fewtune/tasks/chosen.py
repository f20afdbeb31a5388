"""A sampler that draws from chosen tasks; tasks are chosen by name, or by their features (`tasks/selection`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

from fewtune.errors import InputError, unknown
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes, join
from fewtune.tasks.sampler import Sampler, at_least
from fewtune.tasks.selection.consistency import ConsistencyDiversity
from fewtune.tasks.selection.evidence import Evidence
from fewtune.tasks.selection.named import random_tasks
from fewtune.tasks.selection.rows import RoundRobin
from fewtune.tasks.selection.score import Ranked
from fewtune.tasks.task import Tasks


@runtime_checkable
class Selection(Protocol):
    """The axis of task selection: returns some of the tasks, in its own order. `evidence`: the features it decides by, if any."""

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks: ...


@final
@dataclass(frozen=True, kw_only=True)
class Named:
    """The tasks of these names, in this order. Raises InputError where there is none of a name."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"expected at least one name and each once, found {self.names}.")

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:  # noqa: ARG002
        places: dict[str, list[int]] = {name: [] for name in self.names}
        for i, known in enumerate(tasks.names):  # one pass, however many are chosen, because this runs at every draw
            if known in places:
                places[known].append(i)
        for name, found in places.items():
            if not found:
                raise unknown("task", name, tasks.names)
        return tasks.take([i for found in places.values() for i in found])


@final
@dataclass(frozen=True, kw_only=True)
class AsMany:
    """As many random tasks as `selection` chooses, drawn by `seed`: a control, which shows what the choice itself is worth."""

    selection: Selection
    seed: int = 0

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:
        return random_tasks(most=len(self.selection.select(tasks, evidence)), seed=self.seed).select(tasks)


@final
@dataclass(frozen=True, kw_only=True)
class Again:
    """`selection` once more when the phase begins, by the features of the weights that earlier phases have trained: the loop of selection
    and finetuning, closed.

    `names`: the tasks that the frozen features choose. Until the phase begins they stand for the choice, to plan its length.
    """

    selection: Selection
    names: tuple[str, ...] = ()

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:
        if evidence is None and self.names:
            return Named(names=self.names).select(tasks)
        return self.selection.select(tasks, evidence)


@final
@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Draws with `sampler` from the tasks that `selection` chooses.

    `opens`: a curriculum. Over the first `opens` episodes the tasks become available one after another, in the order of the selection (for
    `Ranked`, the best first); from then on all of them. 0: all at once.
    """

    sampler: Sampler
    selection: Selection
    opens: int = 0

    def __post_init__(self) -> None:
        at_least("opens", self.opens, 0)

    def resolved(self, tasks: Tasks, evidence: Evidence | None = None) -> Chosen:
        """The same with the names of the chosen tasks: the choice is made once, before training, and recorded. `Again` stays, and makes it
        anew when its phase begins (`chosen_again`).

        Raises InputError where two tasks share a name, so that names would not tell them apart.
        """
        names = self.selection.select(tasks, evidence).names
        counts = Counter(tasks.names)
        if twice := sorted({name for name in names if counts[name] > 1}):
            raise InputError(f"tasks are chosen by their names, but several are called {twice[0]!r}: give each its own name.")
        kept = replace(self.selection, names=names) if isinstance(self.selection, Again) else Named(names=names)
        return replace(self, selection=kept)

    def chosen_again(self, tasks: Tasks, evidence: Evidence) -> Chosen:
        """The same with the names that `Again` chooses by the evidence at the beginning of its phase."""
        return replace(self, selection=Named(names=self.selection.select(tasks, evidence).names))

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        """Episodes from the selected tasks. A selection that decides by features should be `resolved` first."""
        chosen = self.selection.select(tasks)
        if first >= self.opens or len(chosen) < 2:
            return self.sampler.draw(chosen, key, first, count)
        episodes = range(first, first + count)
        parts = [self.sampler.draw(chosen.take(range(self._open(len(chosen), one))), key, one, 1) for one in episodes]
        return join(parts)

    def _open(self, tasks: int, episode: int) -> int:
        """How many tasks are available at an episode."""
        return min(tasks, 1 + episode * tasks // self.opens)


SELECTIONS = (Named, AsMany, Again, ConsistencyDiversity, Ranked, RoundRobin)
