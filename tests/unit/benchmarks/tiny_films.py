"""A small table of films with labels drawn, and networks whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from ranking import Table
from torch import Tensor

from fewtune.data.examples import Column

TITLES = 384  # the features by which films are alike


def films_of(year: np.ndarray, first_test_year: int, seed: int = 0) -> Table:
    """A film a year of the list: titles are unit vectors in a plane; two numbers, one yes or no, and mpaa, sometimes missing."""
    random = np.random.default_rng(seed)
    n = len(year)
    angle = random.uniform(0, 2 * np.pi, n)
    features = np.zeros((n, TITLES), np.float32)
    features[:, 0], features[:, 1] = np.cos(angle), np.sin(angle)
    columns = {
        "votes_log10": Column("float", random.normal(3, 2, (n, 1))),
        "rating": Column("float", random.normal(6, 1, (n, 1))),
        "drama": Column("class", random.integers(0, 2, n), ("no", "yes")),
        "mpaa": Column("class", random.integers(-1, 3, n), ("G", "PG", "R")),
    }
    return Table(features, columns, np.flatnonzero(year < first_test_year))


@dataclass(frozen=True, eq=False)
class Known:
    """A network that answers each film with a row of `said`, by task; `learned` are the rows that it was trained on."""

    table: Table
    said: list[np.ndarray] = field(default_factory=list)
    learned: frozenset[int] = frozenset()
    seconds: float = 0.0

    def outputs(self, features: np.ndarray, task: int) -> Tensor:
        rows = [int(np.flatnonzero((self.table.features == one).all(1))[0]) for one in features]
        return torch.from_numpy(self.said[task][rows])


def random_answers(table: Table, seed: int = 1) -> Known:
    random = np.random.default_rng(seed)
    return Known(table, [random.normal(size=(len(table.features), outputs)) for outputs in table.outputs])
