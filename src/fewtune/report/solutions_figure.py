"""The curve of accuracy over alpha between a network and what it was finetuned to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import ACCENT, Drawn, accuracies_upwards, axes, drawn
from fewtune.studies.solutions import AlphaCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def alpha_figure(curve: AlphaCurve) -> Drawn:
    """Accuracy of (1 - alpha) start + alpha end, with 95% intervals over episodes."""
    alphas, intervals = np.array(curve.alphas), curve.intervals()

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38)
        ax.fill_between(alphas, [i.low for i in intervals], [i.high for i in intervals], color=ACCENT, alpha=0.16, linewidth=0)
        ax.plot(alphas, [i.mean for i in intervals], color=ACCENT, marker="o", markersize=4)
        accuracies_upwards(ax, along="alpha: 0 is the start, 1 the finetuned network")

    best = int(np.argmax([i.mean for i in intervals]))
    caption = f"Accuracy in % of the weights between start and end. The mean is highest at alpha = {alphas[best]:g}."
    return drawn(build, name="alpha", label="Accuracy over alpha.", caption=caption, height=240)
