"""Protocol: which episodes a comparison is made on. The same saved episodes serve every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from fewtune.data.examples import Examples, Integers
from fewtune.data.pool import Pool
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Hard, Imbalanced, Sampled, Varied
from fewtune.tasks.task import ClassChoice, Tasks, class_rows, group_tasks


@final
@dataclass(frozen=True, kw_only=True)
class Protocol:
    """`episodes` episodes of `sampler` for each seed, from the rows of the chosen classes.

    `within` "group": every episode stays inside one group (an alphabet, a domain). `classes`: train, validation, test or all.
    """

    sampler: Sampled | Varied | Imbalanced | Hard
    episodes: int = 600
    seeds: tuple[int, ...] = (0,)
    classes: ClassChoice = "all"
    within: Literal["all", "group"] = "all"

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise InputError(f"expected at least 1 episode, found {self.episodes}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"expected distinct seeds, found {self.seeds}.")

    def tasks(self, pool: Pool) -> Tasks:
        """The tasks that episodes are drawn from."""
        return (group_tasks if self.within == "group" else class_rows)(pool, self.classes)

    def rows(self, examples: Examples) -> Integers:
        """The rows of a collection that episodes may come from, in increasing order."""
        return np.sort(class_rows(Pool([examples]), self.classes).order)

    def check(self, pool: Pool) -> None:
        """Raise InputError where the pool cannot give such episodes."""
        self.sampler.draw(self.tasks(pool), key(0), 0, 1)

    def draw(self, pool: Pool) -> dict[int, Episodes]:
        """The episodes of each seed."""
        tasks = self.tasks(pool)
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
