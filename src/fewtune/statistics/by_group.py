"""Accuracy by group (domains, alphabets, sites): each, their plain mean, and the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval, symmetric, wilson_interval
from fewtune.statistics.sample import fraction
from fewtune.statistics.special import ndtri


@final
@dataclass(frozen=True)
class ByGroup:
    """Accuracy of each group with its Wilson interval, in the order of the names. `mean`: of the groups, each counted once however many
    rows it has. `worst`: the name of the lowest; of equals the first. That it was picked as the lowest makes its accuracy a little too low.
    """

    each: Mapping[str, Interval]
    mean: Interval
    worst: str

    @property
    def lowest(self) -> Interval:
        """The accuracy of the worst group."""
        return self.each[self.worst]


def accuracy_by_group(right: npt.ArrayLike, group: npt.ArrayLike, names: Sequence[str], level: float = 0.95) -> ByGroup | None:
    """Accuracy by group of rows [N] that are `right` or not; `group` [N] are places in `names`, -1 for a row of none.

    The interval of the mean is normal: rows are drawn anew within each group, the groups stay the same, so what another domain would give
    is not in it; NaN bounds where a group has one row. None where fewer than two groups have rows.
    Reference: Koh et al., "WILDS", ICML 2021 (worst-group and average accuracy); Sagawa et al., ICLR 2020.

    >>> found = accuracy_by_group([1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1], ["photo", "sketch"])
    >>> found.worst, found.mean.mean
    ('sketch', 0.375)
    """
    flags, place, level = np.asarray(right, dtype=np.float64), np.asarray(group), fraction(level)
    if flags.ndim != 1 or flags.shape != place.shape:
        raise ValueError(f"expected a group for each of {flags.size} rows, found shape {place.shape}.")
    rows = {name: flags[place == g] for g, name in enumerate(names) if (place == g).any()}
    if len(rows) < 2:
        return None
    each = {name: wilson_interval(int(mine.sum()), len(mine), level) for name, mine in rows.items()}
    variance = sum(float(mine.var(ddof=1)) / len(mine) if len(mine) > 1 else math.nan for mine in rows.values())
    half = float(ndtri((1 + level) / 2)) * math.sqrt(variance) / len(rows)
    mean = symmetric(float(np.mean([one.mean for one in each.values()])), half, level, len(flags[place >= 0]), "normal within groups")
    return ByGroup(each, mean, min(each, key=lambda name: each[name].mean))
