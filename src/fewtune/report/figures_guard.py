"""The guard as a picture: the gain of finetuning on each row or class that judged it, and the interval of the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import ACCENT, INK, MUTED, Drawn, axes, drawn, percent_ticks
from fewtune.report.findings import Floats
from fewtune.sides.guard import Guard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_IN_A_STACK = 9


def guard_figure(guard: Guard) -> Drawn | None:
    """One dot a row of the target, or a class of the sources, stacked; None where there are fewer than two to show."""
    differences = guard.differences[np.isfinite(guard.differences)]
    if len(differences) < 2:
        return None
    gain = guard.gain
    bounds = [v for v in (gain.mean, gain.low, gain.high) if np.isfinite(v)]
    reach = np.array([*differences, *bounds, 0.0])
    low, high = float(reach.min()), float(reach.max())
    margin = 0.07 * (high - low) or 0.01

    def build(figure: Figure) -> None:
        ax = axes(figure, left=12, right=12, top=8, bottom=36)
        ax.grid(False)
        ax.set_xlim(low - margin, high + margin)
        ax.set_yticks([])
        ax.axvline(0, color=INK, linewidth=1.1)
        x, y = _stacked(differences, low, high)
        top = max(float(y.max()) + 2.4, 5.0)
        ax.set_ylim(-2.4, top)
        ax.plot(x, y, linestyle="none", marker="o", markersize=5.4, color=ACCENT, alpha=0.75, markeredgewidth=0)
        if np.isfinite(gain.low) and np.isfinite(gain.high):
            ax.plot([gain.low, gain.high], [-1.2, -1.2], color=INK, linewidth=2.4)
        ax.plot([gain.mean], [-1.2], marker="D", markersize=6.5, color=INK)
        percent_ticks(ax.xaxis, 6)
        ax.set_xlabel("finetuned minus frozen, points of accuracy")
        side = 1 if -low < high else -1
        to = "left" if side > 0 else "right"
        ax.annotate("no gain", (0, top), (5 * side, 0), textcoords="offset points", color=MUTED, va="top", ha=to)

    pairs = "held-out rows" if guard.by_rows else "held-out classes"
    won = int((differences > 0).sum())
    label = f"Gain of finetuning on {len(differences)} {pairs}: positive on {won}."
    caption = (
        f"Each dot is one of {len(differences)} {pairs}; right of the line finetuning was better. "
        "The diamond is the mean with its interval: a gain is shown where all of that lies right of the line"
        + ("." if guard.by_rows else ", and a sign-flip test over the classes agrees.")
    )
    return drawn(build, name="guard", label=label, caption=caption, height=190)


def _stacked(values: Floats, low: float, high: float, bins: int = 44) -> tuple[Floats, Floats]:
    """Dots with the same value become a column of dots. A column that would be higher than the figure is squeezed."""
    width = (high - low) / bins or 1.0
    place = np.round((np.sort(values) - low) / width)
    height = np.zeros(len(place))
    for column in np.unique(place):
        inside = np.flatnonzero(place == column)
        height[inside] = np.arange(len(inside))
    squeeze = min(1.0, (MOST_IN_A_STACK - 1) / max(height.max(), 1.0))
    return low + place * width, height * squeeze + 0.2
