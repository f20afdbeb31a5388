"""What `fewtune transfer` measures; it is checked before anything slow is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.data.shifts import check_shifts
from fewtune.errors import InputError
from fewtune.transfer.points import POINTS


@final
@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """`rows`: how many rows of the data are used at most. `points`: where lines are measured. `groups`: patterns of the groups to rewind.
    `probe`: a new head is fitted to half of the rows at each point, instead of the saved one. `criticality`: search alpha and sigma for
    each group too, which takes many passes. `valley`: measure the error on the way of each group with noise, about a hundred passes
    for each. `batchnorm`: estimate BatchNorm statistics again at every point; None: where the ends of a
    line differ in them. `shifts`: the runs also answer the rows under these shifts (`fewtune.data.shifts.shifted`).
    """

    rows: int = 300
    points: tuple[float, ...] = POINTS
    groups: tuple[str, ...] = ("*",)
    probe: bool = False
    criticality: bool = False
    valley: bool = False
    batchnorm: bool | None = None
    shifts: tuple[str, ...] = ()
    seed: int = 0
    quiet: bool = True

    def __post_init__(self) -> None:
        if self.rows < 8:
            raise InputError(f"rows to judge by are at least 8, found {self.rows}.")
        if not {0.0, 1.0} <= set(self.points) or not any(0 < p < 1 for p in self.points):
            raise InputError("points of a line include 0 and 1 and at least one between them.")
        check_shifts(self.shifts)
