"""A comparison of few-shot regression as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewtune.report.tables import Cell, Table
from fewtune.studies.regression import Errors


def regression_table(found: Sequence[Errors], data: str) -> Table:
    """A row for each method and number of shots: RMSE, its intervals over episodes and training seeds, the difference to the lowest.

    Marked is a method that is below every other one of its shots by a paired interval above 0.
    """
    rows = []
    for one in sorted(found, key=lambda one: one.shots):
        mine = [other for other in found if other.shots == one.shots]
        least = min(mine, key=lambda other: other.over_episodes.mean)
        ahead = one is least and len(mine) > 1 and all(other.above(one).low > 0 for other in mine if other is not one)
        error, seeds = one.over_episodes, one.over_seeds
        apart = None if one is least else one.above(least)
        rows.append(
            (
                Cell(one.method),
                Cell(one.shots),
                Cell(error.mean, f"{error.mean:.3f}", best=ahead),
                Cell((error.low, error.high), f"{error.low:.3f} to {error.high:.3f}"),
                Cell(None) if math.isnan(seeds.low) else Cell((seeds.low, seeds.high), f"{seeds.low:.3f} to {seeds.high:.3f}"),
                Cell(None, "lowest") if apart is None else Cell(apart.mean, f"{apart.mean:+.3f}"),
                Cell(None) if apart is None else Cell((apart.low, apart.high), f"{apart.low:.3f} to {apart.high:.3f}"),
                Cell(one.rmse.shape[1]),
                Cell(one.visits or None, f"{one.visits:,}" if one.visits else ""),
            )
        )
    notes = (
        "RMSE of an episode's query, the mean over episodes, in the units of the targets. Intervals: 95%, over episodes (paired for the "
        "difference) and over training seeds. Marked: below each other method of its shots on the same episodes, by intervals that "
        "are not widened for how many are compared.",
    )
    columns = ("method", "shots", "RMSE", "95%", "over seeds", "to the lowest", "95% ", "n", "visits")
    keys = ("method", "shots", "rmse", "interval", "seeds_interval", "above_lowest", "above_interval", "episodes", "visits")
    return Table(columns=columns, rows=tuple(rows), caption=f"{data}, RMSE", notes=notes, keys=keys)
