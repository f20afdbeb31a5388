"""How many answers are right if only the surest are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.report.drawing import ACCENT, INK, Drawn, accuracies_upwards, axes, drawn, percent_ticks
from fewtune.statistics import Coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_SHARE = 0.1  # of the rows: fewer answers tell little


def sure_figure(coverage: Coverage, threshold: float) -> Drawn | None:
    """Accuracy over the share that is answered; None where there are too few points. A dot marks what `threshold` leaves."""
    kept = coverage.share >= LEAST_SHARE
    if kept.sum() < 2:
        return None
    share, accuracy = coverage.share[kept], coverage.accuracy[kept]
    above = coverage.least[kept] >= threshold
    at = int(above.nonzero()[0][-1]) if above.any() else len(share) - 1

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38)
        ax.plot(share, accuracy, color=ACCENT)
        ax.plot(share[at : at + 1], accuracy[at : at + 1], linestyle="none", marker="o", markersize=5.6, color=INK)
        percent_ticks(ax.xaxis)
        accuracies_upwards(ax, along="answered, the surest first")

    label = f"Of all answers {100 * accuracy[-1]:.0f}% are right; of the surest half {100 * _at_half(coverage):.0f}%."
    caption = (
        "How many of 100 answers are right if only the surest are given a label. The dot is what this model does. Each answer was given by "
        "models that had not seen the example."
    )
    return drawn(build, name="sure", label=label, caption=caption, height=240)


def _at_half(coverage: Coverage) -> float:
    """The accuracy on the surest half."""
    return float(coverage.accuracy[int((coverage.share < 0.5).sum())])
