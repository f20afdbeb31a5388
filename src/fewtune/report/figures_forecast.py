"""How accuracy grows with labels: what was measured at fewer shots, and the fitted curve beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewtune.learners.forecast import Forecast
from fewtune.report.drawing import ACCENT, INK, Drawn, accuracies_upwards, axes, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def forecast_figure(forecast: Forecast) -> Drawn | None:
    """Accuracy over shots a class, on a logarithmic axis; None if nothing was measured."""
    known = np.isfinite(forecast.accuracy) & (np.asarray(forecast.shots) > 0)
    if not known.any():
        return None
    shots = np.asarray(forecast.shots, dtype=np.float64)[known]
    accuracy = forecast.accuracy[known]
    low = np.where(np.isfinite(forecast.low[known]), forecast.low[known], accuracy)
    high = np.where(np.isfinite(forecast.high[known]), forecast.high[known], accuracy)

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38)
        ax.set_xscale("log", base=2)
        if len(forecast.grid):
            ax.fill_between(forecast.grid, forecast.curve_low, forecast.curve_high, color=ACCENT, alpha=0.16, linewidth=0)
            ax.plot(forecast.grid, forecast.curve, color=ACCENT)
        ax.vlines(shots, low, high, color=INK, linewidth=1.4)
        ax.plot(shots, accuracy, linestyle="none", marker="o", markersize=5.6, color=INK)
        ticks = _shot_ticks(float(shots.min()), float(max(shots.max(), *forecast.grid, 0)))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        accuracies_upwards(ax, along="labelled examples a class")

    label = f"Accuracy measured at {', '.join(f'{s:g}' for s in shots)} examples a class, and a fitted curve."
    caption = (
        "How many of 100 answers are right with so many labels of each class. Dots were measured on your examples; the line goes on from "
        "them. The wider the band, the less you should trust the line."
    )
    return drawn(build, name="forecast", label=label, caption=caption, height=240)


def _shot_ticks(low: float, high: float) -> list[float]:
    """Powers of two from the fewest shots to the most, at most seven."""
    ticks = [2.0**k for k in range(40) if low <= 2.0**k * 1.0001 and 2.0**k <= high * 1.0001] or [low]
    return ticks[:: -(-len(ticks) // 7)]
