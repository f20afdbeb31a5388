"""Protocol: which episodes a comparison is made on. Every method is tested on the same saved episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from torch import Tensor

from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError, unknown
from fewtune.keys import check_seeds, key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import left_out
from fewtune.tasks.hard import Hard, nearest_classes, slot_means
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import ClassChoice, Tasks, class_rows, group_tasks

LM_BFF_SEEDS = (13, 21, 42, 87, 100)


def lm_bff(ways: int, queries: int, shots: int = 16) -> Protocol:
    """The splits of LM-BFF without its development set: `shots` labelled rows of each of all `ways` classes and `queries` others, five
    times, by the authors' seeds (which draw other rows here).

    With the development set as many rows again choose the settings: `lm_bff(ways, queries, 32)` has the same number of labels.
    Reference: Gao, Fisch, Chen, "Making pre-trained language models better few-shot learners", ACL 2021, section 3.

    >>> lm_bff(ways=2, queries=100).seeds
    (13, 21, 42, 87, 100)
    """
    return Protocol(sampler=Sampled(ways=ways, shots=shots, queries=queries), episodes=1, seeds=LM_BFF_SEEDS)


def named_protocols(name: str, ways: int, queries: int) -> tuple[Protocol, ...]:
    """The protocols of a published benchmark by its name; "lm_bff": 16 labels a class, and 32, which is what 16 and a development set are.

    Raises InputError for another name.
    """
    if name != "lm_bff":
        raise unknown("protocol", name, ("lm_bff",))
    return tuple(lm_bff(ways, queries, shots) for shots in (16, 32))


@final
@dataclass(frozen=True, kw_only=True)
class Protocol:
    """`episodes` episodes of `sampler` for each seed, from the rows of the chosen classes.

    `within` "group": every episode stays inside one group (an alphabet, a domain). `classes`: train, validation, test or all. Classes with
    fewer than `least_rows` rows are left out even where the sampler needs fewer, so that all settings of one table draw from the same
    classes. Test episodes are marked with the task of the collection that they come from, whatever the sampler's `task`.
    """

    sampler: Sampled | Varied | Imbalanced | Hard
    episodes: int = 600
    seeds: tuple[int, ...] = (0,)
    classes: ClassChoice = "all"
    within: Literal["all", "group"] = "all"
    least_rows: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", replace(self.sampler, task="collection"))
        if self.episodes < 1:
            raise InputError(f"expected at least 1 episode, found {self.episodes}.")
        check_seeds(self.seeds)

    def tasks(self, space: RowSpace) -> Tasks:
        """The tasks that episodes are drawn from."""
        return (group_tasks if self.within == "group" else class_rows)(space, self.classes)

    def rows(self, examples: Examples) -> Integers:
        """The rows of a collection that episodes may come from, in increasing order."""
        return np.sort(class_rows(RowSpace([examples]), self.classes).order)

    def check(self, space: RowSpace) -> None:
        """Raise InputError where the row space cannot give such episodes."""
        self.tasks(space).keep(*self.needs)

    @property
    def needs(self) -> tuple[int, int]:
        """(rows of a class, classes of a task) without which they are left out."""
        rows, ways = self.sampler.needs
        return max(rows, self.least_rows), ways

    def left_out(self, space: RowSpace) -> tuple[str, ...]:
        """What no episode is drawn from, a sentence each."""
        return left_out(self.tasks(space), *self.needs)

    def draw(self, space: RowSpace, features: Tensor) -> dict[int, Episodes]:
        """The episodes of each seed. `features` [N, D]: the row space's rows through the frozen backbone, which `Hard` measures nearness
        by.
        """
        tasks = self.tasks(space).keep(*self.needs)
        if isinstance(self.sampler, Hard):
            most = self.sampler.among or self.sampler.ways - 1
            tasks = nearest_classes(tasks, slot_means(tasks, features.cpu().float().numpy()), most)
        return {seed: self.sampler.draw(tasks, key(seed, "episodes"), 0, self.episodes) for seed in self.seeds}

    @property
    def shots(self) -> str:
        """How many shots, for tables: a number, or a range."""
        match self.sampler:
            case Imbalanced(least=least, most=most):
                return f"{least}-{most}"
            case Varied():
                return "varied"
            case _:
                return str(self.sampler.shots)

    @property
    def ways(self) -> str:
        """How many ways, for tables."""
        if isinstance(self.sampler, Varied):
            return f"{self.sampler.least_ways}-{self.sampler.most_ways}"
        return str(self.sampler.ways)
