"""The confusion matrix of the classes with the most mistakes: which class is taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import CELL, INK, TEXT, WRONG, Drawn, drawn, short
from fewtune.report.figures_cells import grid
from fewtune.report.findings import Confusion, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 10


def worst_classes(counts: Floats, most: int) -> Integers:
    """The classes with the most mistakes, made on them or as them, the worst first; classes without an answer come last."""
    wrong = counts - np.diag(np.diag(counts))
    return np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:most]


def confusion_figure(confusion: Confusion) -> Drawn | None:
    """Percent of the answers to each true class; at most ten classes, and one column for all others. None if there is no answer."""
    counts = np.nan_to_num(np.asarray(confusion.counts, dtype=np.float64))
    if counts.sum() == 0:
        return None
    K = len(counts)
    kept = np.sort(worst_classes(counts, MOST_CLASSES))
    total = counts[kept].sum(1, keepdims=True)
    share = np.divide(counts[np.ix_(kept, kept)], total, out=np.zeros((len(kept), len(kept))), where=total > 0)
    names = [short(confusion.class_names[k], 16) for k in kept]
    heads = list(names)
    if len(kept) < K:
        rest = np.where(total[:, 0] > 0, 1 - share.sum(1), 0.0)
        share = np.concatenate([share, rest.clip(0)[:, None]], axis=1)
        heads.append("elsewhere")
    cells = grid(names, heads, widest=44, tallest=34, least_tall=21)

    def build(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        ax = cells.open(figure)
        for (r, c), value in np.ndenumerate(share):
            alpha = round(0.08 + 0.92 * float(value), 3) if value > 0 else 0.05
            colour = CELL if r == c else WRONG
            ax.add_patch(Rectangle((c + 0.04, r + 0.05), 0.92, 0.9, facecolor=colour, alpha=alpha, linewidth=0))
            if value >= 0.005:
                ax.text(
                    c + 0.5,
                    r + 0.5,
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center_baseline",
                    color=INK,
                    fontsize=TEXT - (1.5 if cells.wide < 30 else 0.5),
                )

    label = f"Confusion matrix of {len(kept)} classes; rows are true classes, columns the answers."
    caption = "Rows: the true class. Columns: the answer. Percent of the row; blue is right, orange is wrong."
    if len(kept) < K:
        caption += f" The {len(kept)} of {K} classes with the most mistakes."
    return drawn(build, name="confusion", label=label, caption=caption, height=cells.height)
