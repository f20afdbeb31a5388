"""Samplers of few-shot episodes over classes. Each is a spec; `draw(tasks, key, first, count)` gives episodes first .. first + count - 1.

Episode i is a function of (key, i) alone, so it does not depend on the batch it is drawn in. Classes come in random order, support
and query are disjoint, labels are 0..K-1. Classes too small for what is asked are left out, tasks with too few classes too (`needs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.keys import Counters, Key
from fewtune.tasks.assemble import assemble, assemble_rectangle
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.few_tasks import FewTasks
from fewtune.tasks.hard import Hard
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.replayed import Replayed
from fewtune.tasks.sampler import Sampler, Unit, at_least, check_unit, marks, pick_slots, pick_tasks
from fewtune.tasks.task import Tasks
from fewtune.tasks.twins import Twins

__all__ = ["EPISODIC", "SAMPLERS", "FewTasks", "Hard", "Imbalanced", "Sampled", "Sampler", "Varied"]

Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


@final
@dataclass(frozen=True, kw_only=True)
class Sampled:
    """N-way k-shot episodes: `ways` classes of a task, and `shots` support and `queries` query rows of each class.

    The task (a source, a group, a candidate) is drawn first, each with the same probability whatever its size, and then its classes.
    Without `ragged`, tasks with fewer classes and classes with fewer rows are left out. With `ragged`, a task with fewer classes gives all
    of them, and a class with fewer rows gives what it has, shots before queries but at least one query. Then only classes with fewer than
    two rows (one where shots is 0) and tasks that then have fewer than two classes are left out.

    `task`: what counts as one task for an aggregator (`Mean`, `PcGrad`, `WorstCase`). "episode": every episode, as in multitask
    finetuning. "collection": all episodes of one task of the collection together (a source; a group with --source-tasks group; a chosen
    candidate).
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    task: Unit = "episode"
    ragged: bool = False

    def __post_init__(self) -> None:
        at_least("ways", self.ways, 2)
        at_least("shots", self.shots, 0)
        at_least("queries", self.queries, 1)
        check_unit(self.task)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a task) without which they are left out."""
        return (min(self.shots, 1) + 1, 2) if self.ragged else (self.shots + self.queries, self.ways)

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes(type(self).__name__)
        usable = tasks.keep(*self.needs)
        episodes = np.arange(first, first + count)
        task = pick_tasks(usable, key, episodes)
        slots = pick_slots(usable, key, episodes, task, self.ways)
        marked = marks(self.task, usable, episodes, task)
        if not self.ragged:
            return assemble_rectangle(usable, key, episodes, marked, slots, self.shots, self.queries)
        size = np.where(slots >= 0, usable.count[slots], 0)
        queries = np.clip(size - self.shots, np.minimum(size, 1), self.queries)
        return assemble(usable, key, episodes, marked, slots, np.minimum(self.shots, size - queries), queries)


@final
@dataclass(frozen=True, kw_only=True)
class Varied:
    """Episodes with varying ways and shots and unequal classes, by the rules of Meta-Dataset.

    Ways uniform in [least_ways, min(most_ways, classes of the task)]; the same number of queries for each class, min(most_queries,
    half of the smallest class); total support min(most_support, sum_c ceil(beta min(100, |c| - q))), beta uniform in (0, 1];
    shots of a class proportional to |c| exp(alpha), alpha uniform in [ln .5, ln 2), at least 1.
    Reference: Triantafillou et al., "Meta-Dataset", ICLR 2020, appendix 3. Departs: no use of class hierarchies (ImageNet, Omniglot);
    within-alphabet sampling is `group_tasks`. `task`: as in `Sampled`.
    """

    least_ways: int = 5
    most_ways: int = 50
    most_queries: int = 10
    most_support: int = 500
    task: Unit = "episode"

    def __post_init__(self) -> None:
        at_least("least_ways", self.least_ways, 2)
        at_least("most_ways", self.most_ways, self.least_ways)
        at_least("most_queries", self.most_queries, 1)
        at_least("most_support", self.most_support, self.most_ways)
        check_unit(self.task)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a task) without which they are left out."""
        return 2, self.least_ways

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes(type(self).__name__)
        usable = tasks.keep(*self.needs)
        episodes = np.arange(first, first + count)
        counters = episodes.astype(np.uint64)
        task = pick_tasks(usable, key, episodes)
        most = np.minimum(np.diff(usable.bounds)[task], self.most_ways)
        ways = self.least_ways + key.child("ways").below(most - self.least_ways + 1, counters)
        slots = pick_slots(usable, key, episodes, task, int(most.max(initial=self.least_ways)))
        present = np.arange(slots.shape[1]) < ways[:, None]
        slots = np.where(present, slots, -1)
        size = np.where(present, usable.count[slots], 0)
        queries = np.minimum(self.most_queries, np.where(present, size, np.iinfo(np.int64).max).min(axis=1) // 2)
        shots = self._shots(key, counters, size, present, ways, queries)
        marked = marks(self.task, usable, episodes, task)
        return assemble(usable, key, episodes, marked, slots, shots, np.where(present, queries[:, None], 0))

    def _shots(self, key: Key, counters: Counters, size: Integers, present: Marks, ways: Integers, queries: Integers) -> Integers:
        left = np.where(present, size - queries[:, None], 0)
        beta = 1.0 - key.child("beta").uniform(counters)[:, None]  # in (0, 1]
        total = np.minimum(np.ceil(beta * np.minimum(100, left)).sum(axis=1), self.most_support)
        slot = (counters << np.uint64(16))[:, None] + np.arange(size.shape[1], dtype=np.uint64)
        alpha = np.log(0.5) + key.child("alpha").uniform(slot) * np.log(4.0)
        share = size * np.exp(alpha)
        share /= share.sum(axis=1, keepdims=True)
        shots = np.minimum(np.floor(share * (total - ways)[:, None]).astype(np.int64) + 1, left)
        return np.where(present, shots, 0)


@final
@dataclass(frozen=True, kw_only=True)
class Imbalanced:
    """`ways` classes with different numbers of shots, from `least` to `most`, and equal numbers of queries.

    shape "uniform": each class draws its shots uniformly in [least, most]; "linear": evenly spaced from least to most;
    "step": half of the classes have least, the others most. Which class gets which number is random. `task`: as in `Sampled`.
    Reference: Ochal et al., "Few-Shot Learning with Class Imbalance", 2021, section 3.
    """

    ways: int = 5
    least: int = 1
    most: int = 9
    queries: int = 15
    shape: Literal["uniform", "linear", "step"] = "uniform"
    task: Unit = "episode"

    def __post_init__(self) -> None:
        at_least("ways", self.ways, 2)
        at_least("least", self.least, 1)
        at_least("most", self.most, self.least)
        at_least("queries", self.queries, 1)
        if self.shape not in ("uniform", "linear", "step"):
            raise InputError(f"unknown shape {self.shape!r}: expected uniform, linear or step.")
        check_unit(self.task)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a task) without which they are left out."""
        return self.most + self.queries, self.ways

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        tasks.need_classes(type(self).__name__)
        usable = tasks.keep(*self.needs)
        episodes = np.arange(first, first + count)
        task = pick_tasks(usable, key, episodes)
        slots = pick_slots(usable, key, episodes, task, self.ways)
        place = np.arange(self.ways)
        if self.shape == "uniform":
            counters = (episodes.astype(np.uint64) << np.uint64(16))[:, None] + place.astype(np.uint64)
            shots = self.least + key.child("shots").below(self.most - self.least + 1, counters)
        elif self.shape == "linear":
            shots = np.broadcast_to(np.rint(np.linspace(self.least, self.most, self.ways)).astype(np.int64), slots.shape)
        else:
            shots = np.broadcast_to(np.where(place < self.ways // 2, self.least, self.most), slots.shape)
        marked = marks(self.task, usable, episodes, task)
        return assemble(usable, key, episodes, marked, slots, shots, np.full(slots.shape, self.queries))


EPISODIC = (Sampled, Varied, Imbalanced, Hard)  # with a support: what a protocol may test on
SAMPLERS = (*EPISODIC, FewTasks, Points, Pooled, Pairs, PerTask, InSequence, Replayed, Twins, Chosen)
