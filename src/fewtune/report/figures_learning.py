"""Learning curves: the loss over the steps, and accuracy on validation tasks below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import TEXT, Drawn, axes, drawn, percent_ticks, series, short, up_to_all
from fewtune.report.findings import Curve, Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 150
MOST_CURVES = 6


def curves_figure(curves: Sequence[Curve]) -> Drawn | None:
    """At most six curves, long ones as means of neighbouring steps; None if no loss is known."""
    known = [c for c in curves if np.isfinite(c.loss).any()]
    shown = known[:MOST_CURVES]
    if not shown:
        return None
    validated = any(np.isfinite(c.validation).any() for c in shown)
    averaged = max(-(-len(c.loss) // MOST_POINTS) for c in shown)

    def build(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        low = 178.0 if validated else 40.0
        top = axes(figure, left=38, bottom=low, top=22)
        panels = [(top, "training loss")]
        if validated:
            panels.append((axes(figure, left=38, bottom=40, top=200), "accuracy on validation tasks, %"))
        for k, curve in enumerate(shown):
            steps, loss = _averaged(np.asarray(curve.steps, dtype=np.float64), curve.loss)
            top.plot(steps, loss, color=series(k), linewidth=1.7, marker="o" if len(steps) == 1 else None, markersize=5)
            if validated:
                panels[1][0].plot(curve.validation_steps, curve.validation, color=series(k), marker="o", markersize=4.6)
        end = max(float(np.max([*c.steps, *c.validation_steps], initial=0)) for c in shown)
        for ax, title in panels:
            ax.set_xlim(-0.02 * max(end, 1), 1.03 * max(end, 1))
            ax.margins(y=0.12)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.set_title(title, loc="left", fontsize=TEXT, pad=8, x=-0.1)
        top.yaxis.set_major_locator(MaxNLocator(4))
        if validated:
            up_to_all(panels[1][0])
            top.tick_params(labelbottom=False)
            percent_ticks(panels[1][0].yaxis, 4)
        panels[-1][0].set_xlabel("step")

    legend = [(series(k), short(c.label, 60)) for k, c in enumerate(shown)]
    label = f"Learning curves of {len(shown)} {'run' if len(shown) == 1 else 'runs'}."
    caption = "The loss should fall and level off; accuracy on tasks that were not trained on should rise, and not fall again."
    if averaged > 1:
        caption += f" The loss is the mean of about {averaged} steps."
    if len(known) > len(shown):
        caption += f" The first {len(shown)} of {len(known)} runs."
    return drawn(build, name="curves", label=label, caption=caption, height=340 if validated else 210, legend=legend)


def _averaged(steps: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Neighbouring steps as their mean, so that at most MOST_POINTS are left; steps without a finite loss are left out."""
    known = np.isfinite(loss)
    steps, loss = steps[known], loss[known]
    if len(loss) <= MOST_POINTS:
        return steps, loss
    parts = min(MOST_POINTS, len(loss))
    return (
        np.array([part.mean() for part in np.array_split(steps, parts)]),
        np.array([part.mean() for part in np.array_split(loss, parts)]),
    )
