"""Figures of what a start is worth: learning curves, checkpoints, and what a knob of the head does.

Each is a `Sketch`: `.drawn()` for a page, `.save("curves.png")` for a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fewtune.errors import InputError
from fewtune.report.drawing import ACCENT, accuracies_upwards, axes, percent_ticks, series, short, up_to_all
from fewtune.report.sketch import Sketch
from fewtune.statistics.intervals import Interval
from fewtune.studies.starts import CheckpointCurves, HeadRun, StartCurves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 22  # letters of a name


def curves_figure(found: StartCurves) -> Sketch:
    """Accuracy on the way of finetuning, a line for each start and size of blocks; a dot where a curve counts as converged."""
    places = list(dict.fromkeys((c.start, c.block) for c in found.curves))
    several = len({block for _, block in places}) > 1
    names = [f"{short(start, NAMED)}{f', blocks {block}' if block else ', whole' if several else ''}" for start, block in places]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=42)
        for i, (start, block) in enumerate(places):
            ax.plot(found.of(start, block)[0].steps, found.rows(start, block).mean(1), color=series(i))
            speed = found.convergence(start, block)
            if math.isfinite(speed.steps.mean):
                ax.plot([speed.steps.mean], [speed.level], color=series(i), marker="o", markersize=5, linestyle="none")
        accuracies_upwards(ax, along="steps of finetuning")

    ends = "; ".join(f"{n} {100 * found.rows(*place)[-1].mean():.0f}%" for n, place in zip(names, places, strict=True))
    caption = f"Accuracy on {found.data} while it is learned. The dot: 90% of the way from chance to the end."
    legend = tuple((series(i), name) for i, name in enumerate(names))
    return Sketch(build=build, name="curves", label=f"Accuracy at the end: {ends}.", caption=caption, height=240, legend=legend)


def checkpoints_figure(found: CheckpointCurves) -> Sketch:
    """Final accuracy, and the steps of finetuning to get there, against the step of pretraining at which a checkpoint was taken."""
    speeds = found.convergence()
    enough = found.enough()

    def build(figure: Figure) -> None:
        upper, lower = axes(figure, left=42, top=24, bottom=166), axes(figure, left=42, top=194)
        places = np.arange(len(speeds))
        _spread(upper, places, [one.final for one in speeds.values()], ACCENT)
        percent_ticks(upper.yaxis)
        up_to_all(upper)
        upper.set_title("final accuracy", fontsize="medium", loc="left")
        reached = [i for i, one in enumerate(speeds.values()) if math.isfinite(one.steps.mean)]
        _spread(lower, places[reached], [list(speeds.values())[i].steps for i in reached], ACCENT)
        lower.set_ylim(bottom=0)
        lower.set_title("steps of finetuning to 90% of the way", fontsize="medium", loc="left")
        for ax in (upper, lower):
            ax.set_xlim(-0.4, len(places) - 0.6)
            ax.set_xticks(places, [f"{step:,}" for step in speeds])
        upper.set_xticklabels([])
        lower.set_xlabel("step of pretraining")

    caption = f"With 95% intervals over test rows. The first checkpoint shown to end at most a point below the last one: step {enough:,}."
    label = "; ".join(f"step {step}: {100 * one.final.mean:.0f}%" for step, one in speeds.items())
    return Sketch(build=build, name="checkpoints", label=label, caption=caption, height=320)


def heads_figure(runs: Sequence[HeadRun], knob: str = "weight decay of the head") -> Sketch:
    """Upstream and downstream accuracy against a weight decay or rate of the head. Raises InputError for fewer than two runs."""
    if len(runs) < 2:
        raise InputError(f"expected two or more runs of a study of the head, found {len(runs)}.")
    lines: dict[str, list[Interval]] = {"upstream": [run.upstream for run in runs]}
    lines |= {short(name, NAMED): [run.downstream[name] for run in runs] for name in runs[0].downstream}

    def build(figure: Figure) -> None:
        ax = axes(figure, left=42)
        places = np.arange(len(runs))
        for i, values in enumerate(lines.values()):
            _spread(ax, places + 0.06 * (i - (len(lines) - 1) / 2), values, series(i))
        ax.set_xticks(places, [f"{run.value:g}" for run in runs])
        accuracies_upwards(ax, along=knob)

    label = "; ".join(f"{name}: {', '.join(f'{100 * v.mean:.0f}%' for v in values)}" for name, values in lines.items())
    caption = "Accuracy upstream, and of a new head on the features downstream, with 95% intervals over test rows."
    legend = tuple((series(i), name) for i, name in enumerate(lines))
    return Sketch(build=build, name="heads", label=label, caption=caption, height=240, legend=legend)


def _spread(ax: Axes, places: Any, values: Sequence[Interval], colour: str) -> None:
    """Means on a line, with their intervals."""
    means = np.array([v.mean for v in values])
    low, high = (np.nan_to_num(np.array([getattr(v, end) for v in values]), nan=0.0, posinf=0.0) for end in ("low", "high"))
    ax.vlines(places, np.where(low > 0, low, means), np.where(high > 0, high, means), color=colour, linewidth=1.2)
    ax.plot(places, means, color=colour, marker="o", markersize=4)
