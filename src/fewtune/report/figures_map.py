"""Embedding maps: rows as dots in the plane, before and after finetuning, in the same colours and the same frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import OTHER, SERIES, TEXT, Drawn, axes, drawn, room, series, short
from fewtune.report.figures_confusion import worst_classes
from fewtune.report.findings import Confusion, Floats, Integers, Maps, Truths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLOURS = len(SERIES)
DOT = 4.0  # units from the middle of a dot that a name keeps away


def map_figures(maps: Maps, confusion: Confusion | None = None) -> list[Drawn]:
    """One figure, or two (before, after). Beyond ten classes the ten with the most mistakes have a colour, the others are grey."""
    if not len(maps.labels):
        return []
    sources = np.zeros(len(maps.labels), dtype=np.bool_) if maps.from_sources is None else np.asarray(maps.from_sources, dtype=np.bool_)
    coloured = _coloured(maps, sources, confusion)
    legend = [(series(k), short(maps.names[c], 40)) for k, c in enumerate(coloured)]
    if np.isin(maps.labels[~sources], coloured, invert=True).any():
        legend.append((OTHER, "other classes"))
    frame = _frame([maps.before] if maps.after is None else [maps.before, maps.after], sources)
    titles = [("map-before", "Before finetuning" if maps.after is not None else "Frozen features", maps.before)]
    if maps.after is not None:
        titles.append(("map-after", "After finetuning", maps.after))
    return [_map(name, title, places, maps, sources, coloured, frame, legend) for name, title, places in titles]


def _frame(maps: Sequence[Floats], sources: Truths) -> tuple[float, float, float, float]:
    """One square (left, right, low, high) for all maps. It lies around the target's rows: with far source rows in it they would be tiny."""
    mine = np.concatenate([places[~sources] if (~sources).any() else places for places in maps])
    mine = mine[np.isfinite(mine).all(1)] if len(mine) else mine
    if not len(mine):
        return -1.0, 1.0, -1.0, 1.0
    low, high = mine.min(0), mine.max(0)
    middle, half = (low + high) / 2, 0.56 * float((high - low).max()) or 1.0
    return float(middle[0] - half), float(middle[0] + half), float(middle[1] - half), float(middle[1] + half)


def _coloured(maps: Maps, sources: Truths, confusion: Confusion | None) -> list[int]:
    """The classes with a colour: all of the target's, or the ten with the most mistakes, or else the ten with the most rows."""
    labels = maps.labels[~sources & (maps.labels >= 0)]
    present = np.unique(labels)
    if len(present) <= MOST_COLOURS:
        return [int(c) for c in present]
    if confusion is not None and confusion.class_names == maps.names:
        worst = worst_classes(np.nan_to_num(confusion.counts), len(maps.names))
        return sorted(int(c) for c in worst[np.isin(worst, present)][:MOST_COLOURS])
    counts = np.bincount(labels, minlength=len(maps.names))
    return sorted(int(c) for c in np.argsort(-counts, kind="stable")[:MOST_COLOURS])


def _map(
    name: str,
    title: str,
    places: Floats,
    maps: Maps,
    sources: Truths,
    coloured: list[int],
    frame: tuple[float, float, float, float],
    legend: list[tuple[str, str]],
) -> Drawn:
    few = bool((~sources & ~np.isin(maps.labels, coloured)).any())  # coloured rows among many grey ones: make them easy to see
    dots = 6.0 if len(places) < 300 else 4.4 if len(places) < 1500 else 3.2

    def build(figure: Figure) -> None:
        ax = axes(figure, left=2, right=2, top=2, bottom=2)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(True)
        ax.set_xlim(frame[0], frame[1])
        ax.set_ylim(frame[2], frame[3])
        put_dots(ax, places[sources], OTHER, 0.6 * dots, 0.45)
        mine = ~sources
        put_dots(ax, places[mine & ~np.isin(maps.labels, coloured)], OTHER, dots, 0.75)
        for k, c in enumerate(coloured):
            put_dots(ax, places[mine & (maps.labels == c)], series(k), dots * (1.5 if few else 1.0), 0.85)
        _names(ax, places, maps.labels, mine, coloured, maps.names)

    many = f"{int((~sources).sum())} target rows" + (f" and {int(sources.sum())} source rows" if sources.any() else "")
    return drawn(build, name=name, label=f"{title}: a map of {many}.", caption=title, height=360, legend=legend)


def put_dots(ax: Axes, places: Floats, colour: str, size: float, alpha: float) -> None:
    """All dots as one path: strokes of no length with round ends. That takes a sixth of the bytes of the same number of circles."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    places = places[np.isfinite(places).all(1)]
    if not len(places):
        return
    codes = np.tile([Path.MOVETO, Path.LINETO], len(places))
    patch = PathPatch(Path(np.repeat(places, 2, axis=0), codes), facecolor="none", edgecolor=colour, linewidth=size, alpha=alpha)
    patch.set_capstyle("round")
    ax.add_patch(patch)


def _names(ax: Axes, places: Floats, labels: Integers, mine: Truths, coloured: list[int], names: tuple[str, ...]) -> None:
    """Each coloured class's name close to its rows, where it hides no dot and no other name; else none (the legend has them all)."""
    units = (ax.get_ylim()[1] - ax.get_ylim()[0]) / 356
    left, right, low, high = *ax.get_xlim(), *ax.get_ylim()
    tall = 0.7 * TEXT * units
    dots = places[np.isfinite(places).all(1)]
    taken: list[tuple[float, float, float]] = []
    for c in coloured:
        inside = places[mine & (labels == c)]
        inside = inside[np.isfinite(inside).all(1)]
        if not len(inside):
            continue
        text = short(names[c], 18)
        half = 0.5 * room([text]) * units

        def free(x: float, y: float, half: float = half) -> bool:
            beside = (abs(dots[:, 0] - x) > half + DOT * units) | (abs(dots[:, 1] - y) > tall + DOT * units)
            apart = all(abs(y - other) > 2 * tall or abs(x - there) > half + reach for there, other, reach in taken)
            return bool(beside.all()) and apart and left + half <= x <= right - half and low + tall <= y <= high - tall

        found = next(((x, y) for x, y in _around(inside, half, tall, units) if free(x, y)), None)
        if found is not None:
            taken.append((*found, half))
            ax.text(*found, text, ha="center", va="center", fontweight="bold")


def _around(inside: Floats, half: float, tall: float, units: float) -> Iterator[tuple[float, float]]:
    """Places for a name, the nearest to the middle of its rows first."""
    x, y = (float(v) for v in np.median(inside, axis=0))
    yield x, y
    for far in range(1, 12):
        step = 8 * far * units
        for turn in np.linspace(0, 2 * np.pi, 16, endpoint=False) + np.pi / 2:
            yield x + float(np.cos(turn)) * (half + step), y + float(np.sin(turn)) * (tall + step)
