"""The valley plot: the error on the way from a module's start to its end, with noise, module by module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fewtune.errors import InputError
from fewtune.report.drawing import WIDTH, percent_ticks, series, short
from fewtune.report.sketch import Sketch
from fewtune.transfer import Valley

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 12  # modules that are shown at most
ACROSS = 3
HIGH, GAP, LEFT, BOTTOM, TOP = 62.0, 26.0, 34.0, 34.0, 20.0


def valley_figure(found: Mapping[str, Valley], title: str = "", *, name: str = "valley") -> Sketch:
    """A panel for each module, a line for each strength of noise. `title`: of what network; `name`: of the figure on a page.

    Beyond twelve modules, twelve of them evenly from input to output. Raises InputError where there is no module.
    """
    if not found:
        raise InputError("expected the valley of at least one module, found none.")
    names = list(found)
    if len(names) > PANELS:
        names = [names[i] for i in np.linspace(0, len(names) - 1, PANELS).round().astype(int)]
    down = -(-len(names) // ACROSS)
    height = TOP + down * HIGH + (down - 1) * GAP + BOTTOM
    sigmas = found[names[0]].sigmas
    top = max(float(found[name].errors.max()) for name in names)
    wide = (WIDTH - LEFT - 8 - 12 * (ACROSS - 1)) / ACROSS

    def build(figure: Figure) -> None:
        for place, name in enumerate(names):
            row, column = divmod(place, ACROSS)
            x, y = LEFT + column * (wide + 12), height - TOP - HIGH - row * (HIGH + GAP)
            ax = figure.add_axes((x / WIDTH, y / height, wide / WIDTH, HIGH / height))
            for i in range(len(sigmas)):
                ax.plot(found[name].alphas, found[name].errors[:, i], color=series(i))
            ax.set_ylim(-0.03 * top, 1.05 * top if top else 1.0)
            percent_ticks(ax.yaxis, 2)
            ax.set_xticks([0, 1], ["start", "end"])
            first, last = ax.get_xticklabels()
            first.set_horizontalalignment("left")
            last.set_horizontalalignment("right")
            ax.set_title(short(name, 16), fontsize="medium", loc="left", pad=3)
            if column:
                ax.set_yticklabels([])
            if place + ACROSS < len(names):
                ax.set_xticklabels([])

    left_out = "" if len(names) == len(found) else f" {len(names)} of {len(found)} groups, evenly from input to output."
    of = f" of {title}" if title else ""
    caption = (
        f"Error in % when one group{of} goes from its start to its end, the others at their end. Noise as a multiple of how far the "
        f"group moved. A line that stays flat: the group is not critical.{left_out}"
    )
    label = "; ".join(f"{name}: {100 * found[name].errors[0, 0]:.0f}% at its start" for name in names)
    legend = tuple((series(i), f"noise {sigma:g}" if sigma else "no noise") for i, sigma in enumerate(sigmas))
    return Sketch(build=build, name=name, label=label, caption=caption, height=height, legend=legend)
