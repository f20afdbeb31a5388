"""Pictures of the chosen source data: how coverage grew, and which chosen class is similar to which target class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import (
    CELL,
    INK,
    MINUS,
    MUTED,
    OTHER,
    TEXT,
    Drawn,
    axes,
    drawn,
    percent_ticks,
    series,
    short,
)
from fewtune.report.figures_cells import grid
from fewtune.report.findings import Floats, Integers, Looked, Similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DOTS = 400
MOST_SOURCES = 8
MOST_TARGET = 10
MOST_SOURCE_ROWS = 22
NUMBERED = 7  # columns up to which a cell has room for its number


def coverage_figure(trace: Sequence[Looked]) -> Drawn | None:
    """Coverage after each candidate, in the order in which they were considered; None if no coverage is known."""
    known = [i for i, looked in enumerate(trace) if np.isfinite(looked.coverage)]
    if len(known) < 2:
        return None
    kept = _thinned(trace, known)
    taken = [i for i in kept if trace[i].taken]
    refused = [i for i in kept if not trace[i].taken]
    counts: dict[str, int] = {}
    for i in taken:
        counts[trace[i].source] = counts.get(trace[i].source, 0) + 1
    sources = sorted(counts, key=lambda s: -counts[s])[:MOST_SOURCES]
    colour = {source: series(k) for k, source in enumerate(sources)}

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38)
        if taken:
            x = [i + 1 for i in taken]
            y = [trace[i].coverage for i in taken]
            ax.step([*x, kept[-1] + 1], [*y, y[-1]], where="post", color=MUTED, linewidth=1.3)
        ax.plot(
            [i + 1 for i in refused],
            [trace[i].coverage for i in refused],
            linestyle="none",
            marker="o",
            markersize=4.2,
            markerfacecolor="none",
            markeredgecolor=OTHER,
        )
        for source in [*sources, None]:
            inside = [i for i in taken if trace[i].source == source or (source is None and trace[i].source not in colour)]
            place, height = [i + 1 for i in inside], [trace[i].coverage for i in inside]
            ax.plot(place, height, linestyle="none", marker="o", markersize=5.4, color=OTHER if source is None else colour[source])
        if all(0 <= trace[i].coverage <= 1 for i in kept):
            percent_ticks(ax.yaxis)
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("candidates, in the order looked at")
        ax.margins(y=0.12)

    fraction = all(0 <= trace[i].coverage <= 1 for i in kept)
    legend = [(colour[source], short(source, 40)) for source in sources]
    if len(counts) > len(sources):
        legend.append((OTHER, f"{len(counts) - len(sources)} other sources"))
    label = f"Coverage of the target over {len(known)} candidates looked at, of which {sum(looked.taken for looked in trace)} were taken."
    caption = (
        f"Coverage of the target{' (%)' if fraction else ''}: how much of what separates its classes also varies in the chosen data. "
        "Full dots were taken; hollow ones were looked at and left."
    )
    return drawn(build, name="coverage", label=label, caption=caption, height=230, legend=legend)


def _thinned(trace: Sequence[Looked], known: Sequence[int]) -> list[int]:
    """The candidates to draw: all taken ones, and those refused between them and shortly after; an even part if these are too many."""
    taken = [i for i in known if trace[i].taken]
    end = taken[-1] + max(20, len(taken) // 4) if taken else len(trace)
    refused = [i for i in known if not trace[i].taken and i <= end]

    def few(indices: list[int], most: int) -> list[int]:
        if len(indices) <= most:
            return indices
        return [indices[j] for j in np.unique(np.linspace(0, len(indices) - 1, most).round().astype(int))]

    return sorted([*few(taken, MOST_DOTS), *few(refused, MOST_DOTS // 2)])


def similarity_figure(similarity: Similarity) -> Drawn | None:
    """Cosines of chosen source classes (rows) and target classes (columns): the least covered columns and the most similar rows."""
    cosine = np.nan_to_num(np.asarray(similarity.cosine, dtype=np.float64))
    if not cosine.size:
        return None
    columns = _least_covered(cosine)
    rows = _most_alike(cosine[columns])
    shown = cosine[np.ix_(columns, rows)].T
    low, high = float(shown.min()), float(shown.max())
    names = [short(similarity.chosen[r], 20) for r in rows]
    cells = grid(names, [short(similarity.target[c], 14) for c in columns], widest=46, tallest=19)

    def build(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        ax = cells.open(figure)
        for (r, c), value in np.ndenumerate(shown):
            strength = 0.05 + 0.95 * (value - low) / ((high - low) or 1.0)
            ax.add_patch(Rectangle((c + 0.04, r + 0.05), 0.92, 0.9, facecolor=CELL, alpha=round(float(strength), 3), linewidth=0))
            if len(columns) <= NUMBERED:
                said = f"{value:.2f}".replace("0.", ".", 1).replace("-", MINUS)
                ax.text(c + 0.5, r + 0.5, said, ha="center", va="center_baseline", color=INK, fontsize=TEXT - 1.5)

    of = f" (the {len(columns)} least covered of {len(similarity.target)})" if len(columns) < len(similarity.target) else ""
    by = f" (the {len(rows)} most alike of {len(similarity.chosen)})" if len(rows) < len(similarity.chosen) else ""
    label = f"Cosine similarity of {len(rows)} chosen source classes and {len(columns)} target classes, from {low:.2f} to {high:.2f}."
    caption = (
        f"Columns: your classes{of}. Rows: chosen classes of the other data{by}. The stronger the colour, the more alike both are to the "
        f"model (cosine {low:.2f} to {high:.2f}). A column without a strong cell is a class that the other data has nothing like."
    )
    return drawn(build, name="similarity", label=label, caption=caption, height=cells.height)


def _least_covered(cosine: Floats) -> Integers:
    """The target classes with the weakest best match, in the given order."""
    return np.sort(np.argsort(cosine.max(1), kind="stable")[:MOST_TARGET])


def _most_alike(cosine: Floats) -> Integers:
    """Each class's best source classes in turn, then sorted along the diagonal."""
    ranked = np.argsort(-cosine, axis=1, kind="stable")
    chosen = list(dict.fromkeys(int(row) for turn in ranked.T for row in turn))[:MOST_SOURCE_ROWS]
    order = sorted(chosen, key=lambda r: (int(cosine[:, r].argmax()), -float(cosine[:, r].max())))
    return np.array(order, dtype=np.int64)
