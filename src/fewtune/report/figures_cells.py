"""Grids of coloured cells with names at their edges, laid out so that they fit the width of a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from fewtune.report.drawing import INK, TEXT, WIDTH, axes, room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 6.0  # units between a name and the cells


@final
@dataclass(frozen=True)
class Grid:
    """Names of rows (left) and columns (above, slanted), and the units of a cell: `wide` and `tall`."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    left: float
    top: float
    slant: float
    wide: float
    tall: float

    @property
    def height(self) -> float:
        return self.top + self.tall * len(self.rows) + 4

    def open(self, figure: Figure) -> Axes:
        """Axes without lines whose cell (row r, column c) spans r to r + 1 downwards and c to c + 1; the names are written."""
        right = WIDTH - self.left - self.wide * len(self.columns)
        ax = axes(figure, left=self.left, right=right, top=self.top, bottom=4)
        ax.set_xlim(0, len(self.columns))
        ax.set_ylim(len(self.rows), 0)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        for r, name in enumerate(self.rows):
            at = (-GAP, 0)
            ax.annotate(name, (0, r + 0.5), at, textcoords="offset points", ha="right", va="center_baseline", color=INK)
        for c, name in enumerate(self.columns):
            ax.annotate(
                name,
                (c + 0.5, 0),
                (0, GAP),
                textcoords="offset points",
                ha="left",
                va="baseline",
                color=INK,
                rotation=self.slant,
                rotation_mode="anchor",
            )
        return ax


def grid(rows: Sequence[str], columns: Sequence[str], *, widest: float, tallest: float, least_tall: float = 19.0) -> Grid:
    """The largest cells with which the last slanted name still ends inside the figure. With more columns the names are steeper."""
    left = room(rows) + GAP + 3
    slant = 52.0 if len(columns) <= 8 else 68.0
    reach = [math.cos(math.radians(slant)) * 0.55 / 0.6 * room([name]) for name in columns]
    n = len(columns)
    wide = min([widest, *((WIDTH - left - 8 - reach[c]) / (c + 0.5) for c in range(n)), (WIDTH - left - 4) / n])
    wide = max(wide, 11.0)
    top = math.sin(math.radians(slant)) * room(columns) + GAP + 0.5 * TEXT
    return Grid(tuple(rows), tuple(columns), left, top, slant, wide, min(max(wide, least_tall), tallest))
