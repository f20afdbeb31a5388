"""Runs on shifted rows: the rows that judge, with noise or blur, with other shares of the classes, of some groups alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.row_space import RowSpace
from fewtune.data.shifts import each_shifted
from fewtune.errors import InputError
from fewtune.statistics.intervals import Interval, wilson_interval
from fewtune.statistics.paired import paired_interval
from fewtune.studies.transferred.asked import Asked
from fewtune.studies.transferred.solutions import Solution


@final
@dataclass(frozen=True, eq=False)
class Shifted:
    """One shift. `accuracy` of each run on its `count` rows; `fall`: how much lower than without it, paired by row; empty where the shift
    is one of rows and not of photos.
    """

    shift: str
    count: int
    accuracy: Mapping[str, Interval]
    fall: Mapping[str, Interval]


def under_shifts(solutions: Sequence[Solution], asked: Asked, shifts: Sequence[str], seed: int = 0) -> tuple[Shifted, ...]:
    """How the runs do on the test rows under each shift. Rows are shifted after those that were learned from are left out.

    A new head, where there is one, is fitted to rows as they are. Raises InputError for other shifts, and where one leaves no row.
    """
    rows = asked.examples.take(asked.test)
    meant = np.full(len(asked.examples.class_names), -1)  # the model's class of each class of the data
    meant[rows.labels] = asked.truth
    side = getattr(asked.backbone.preparation, "height", 224)
    plain = {one.name: asked.probabilities(one.end).argmax(1) == asked.truth for one in solutions} if shifts else {}
    found = []
    for shift, other in zip(shifts, each_shifted(rows, shifts, side=side, seed=seed), strict=True):
        if not len(other):
            raise InputError(f"--shift {shift} leaves no row of {rows.name} to judge by: give more --rows.")
        space, truth = RowSpace([other]), meant[other.labels]
        right = {one.name: asked.answered(one.end, space).argmax(1) == truth for one in solutions}
        alike = len(other) == len(rows) and np.array_equal(other.labels, rows.labels)
        falls = {name: paired_interval(plain[name].astype(np.float64) - now) for name, now in right.items()} if alike else {}
        each = {name: wilson_interval(int(now.sum()), len(now)) for name, now in right.items()}
        found.append(Shifted(shift, len(other), each, falls))
    return tuple(found)
