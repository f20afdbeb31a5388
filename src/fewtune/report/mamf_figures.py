"""The figures of the MAMF study, as in the paper: accuracy by task configuration, ablation of T, winner map, gain, maps by method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewtune.report.drawing import INK, MUTED, RULE, Drawn, accuracies_upwards, axes, drawn, percent_ticks, room, series, short
from fewtune.report.figures_map import put_dots
from fewtune.report.maps import map_2d, map_rows
from fewtune.studies.mamf.lines import CLASSICAL, FOMAML, MAMF, ZERO_SHOT
from fewtune.studies.mamf.run import Picture
from fewtune.studies.mamf.summary import Summary, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {ZERO_SHOT: 0, CLASSICAL: 5, FOMAML: 2, MAMF: 8}
_OTHERS = (4, 1, 6, 3, 7, 9)
MOST_DOTS = 600  # rows of a map


def colour_of(method: str, methods: Sequence[str]) -> str:
    """Each method's colour, the same in every figure."""
    if method in _COLOURS:
        return series(_COLOURS[method])
    others = [name for name in methods if name not in _COLOURS]
    return series(_OTHERS[others.index(method) % len(_OTHERS)])


def legend_of(methods: Sequence[str]) -> list[tuple[str, str]]:
    return [(colour_of(method, methods), short(method, 40)) for method in methods]


def accuracy_figure(summary: Summary, data: str, number: int) -> Drawn:
    """Accuracy over (N, T): test tasks solid with intervals over seeds, dev tasks dashed."""
    methods = summary.methods
    test, dev = summary.grid(data, "test"), summary.grid(data, "dev")

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38, bottom=52)
        for place, method in enumerate(methods):
            colour = colour_of(method, methods)
            shift = 0.05 * (place - (len(methods) - 1) / 2)
            for spots, style in ((test, "-"), (dev, (0, (3, 2)))):
                lines = [spot.line(method) for spot in spots]
                x = [i + shift for i, line in enumerate(lines) if line is not None]
                y = [line.mean for line in lines if line is not None]
                ax.plot(x, y, color=colour, linestyle=style, linewidth=1.6, marker="o" if spots is test else None, markersize=4)
                if spots is test:
                    ends = [(line.interval.low, line.interval.high) for line in lines if line is not None]
                    known = [(at, low, high) for at, (low, high) in zip(x, ends, strict=True) if low == low]
                    ax.vlines([k[0] for k in known], [k[1] for k in known], [k[2] for k in known], color=colour, linewidth=1)
        step = max(1, -(-len(test) // 9))
        ax.set_xticks(range(0, len(test), step), [f"{spot.ways}\n{spot.tasks}" for spot in test[::step]])
        accuracies_upwards(ax, along="classes N of a task, and below it tasks T")

    caption = (
        f"{short(data, 40)}: accuracy in % on test tasks (solid, with 95% intervals) and dev tasks (dashed). "
        "Each task is learned from the weights that training ended with."
    )
    label = f"{data}: accuracy of {', '.join(methods)} by task configuration."
    return drawn(build, name=f"grid-{number}", label=label, caption=caption, height=300, legend=legend_of(methods))


def ablation_figure(summary: Summary, data: str, number: int) -> Drawn | None:
    """Accuracy over the number of training tasks T at one N, with the probability that T tasks hold every class; None without an
    ablation."""
    tried = [spot for spot in summary.spots if spot.data == data and spot.part == "test" and spot.kind == "ablation"]
    if not tried:
        return None
    whole = next(spot for spot in summary.grid(data, "test") if spot.ways == tried[0].ways)
    spots = sorted([*tried, whole], key=lambda spot: spot.tasks)
    methods = summary.methods

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38, bottom=52)
        for method in (ZERO_SHOT, CLASSICAL):
            line = whole.line(method)
            if line is not None:
                ax.axhline(line.mean, color=colour_of(method, methods), linestyle=(0, (3, 2)), linewidth=1.4)
        for method in (FOMAML, MAMF):
            lines = [spot.line(method) for spot in spots]
            y = [line.mean if line is not None else np.nan for line in lines]
            ax.plot(range(len(spots)), y, color=colour_of(method, methods), marker="o", markersize=4.6)
            ends = [(i, line.interval.low, line.interval.high) for i, line in enumerate(lines) if line is not None]
            known = [end for end in ends if end[1] == end[1]]
            ax.vlines([k[0] for k in known], [k[1] for k in known], [k[2] for k in known], color=colour_of(method, methods), linewidth=1)
        ax.set_xticks(range(len(spots)), [f"{spot.tasks}\n{spot.covered:.3f}" for spot in spots])
        accuracies_upwards(ax, along="training tasks T, and below it P(every class is seen)")

    caption = (
        f"{short(data, 40)}: test accuracy at N = {whole.ways} of M = {whole.classes} classes when T tasks share one budget. Below each T "
        "stands the exact probability that T random tasks hold every class."
    )
    label = f"{data}: accuracy over the number of training tasks."
    return drawn(build, name=f"ablation-{number}", label=label, caption=caption, height=270, legend=legend_of(methods[:4]))


def winner_figure(summary: Summary) -> Drawn:
    """Each configuration as a dot in the winner's colour over its zero-shot accuracy; hollow where the paired interval holds 0."""
    spots = summary.grid()
    rows = list(dict.fromkeys((spot.data, spot.part) for spot in spots))
    methods = summary.methods
    names = [f"{short(data, 18)}, {part}" for data, part in rows]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=min(200.0, room(names) + 10), bottom=42)
        for place in range(len(rows)):
            ax.axhline(place, color=RULE, linewidth=9, alpha=0.7, zorder=0)
        for spot in spots:
            line = spot.line(ZERO_SHOT)
            if line is None:
                continue
            colour = colour_of(spot.winner, methods)
            face = colour if spot.sure else "none"
            ax.plot([line.mean], [rows.index((spot.data, spot.part))], marker="o", markersize=7, color=colour, markerfacecolor=face)
        ax.set_yticks(range(len(rows)), names)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(False)
        ax.margins(x=0.08)
        percent_ticks(ax.xaxis)
        ax.set_xlabel("zero-shot accuracy in %")

    sure = sum(spot.sure for spot in spots)
    caption = (
        "Winner map: one dot for each (N, T), in the colour of the best method. A full dot: its paired 95% interval lies above 0 against "
        f"every other method ({sure} of {len(spots)}); a hollow dot: it could be luck."
    )
    label = f"The best method of {len(spots)} configurations over zero-shot accuracy."
    return drawn(build, name="winners", label=label, caption=caption, height=60 + 40 * len(rows), legend=legend_of(methods))


def gain_figure(trend: Trend, number: int) -> Drawn:
    """Gain of one method over another against zero-shot accuracy, with the fitted line."""
    x, y = (np.array(values) for values in zip(*trend.points, strict=True))

    def build(figure: Figure) -> None:
        ax = axes(figure, left=44, bottom=42)
        ax.axhline(0, color=MUTED, linewidth=1)
        ax.plot(x, y, linestyle="none", marker="o", markersize=4.6, color=INK)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, trend.level + trend.slope.mean * ends, color=INK, linewidth=1.4)
        if trend.slope.low == trend.slope.low:
            middle = float(x.mean())
            at = np.linspace(x.min(), x.max(), 30)
            steep = [trend.level + trend.slope.mean * middle + slope * (at - middle) for slope in (trend.slope.low, trend.slope.high)]
            ax.fill_between(at, np.minimum(*steep), np.maximum(*steep), color=INK, alpha=0.12, linewidth=0)
        percent_ticks(ax.xaxis)
        percent_ticks(ax.yaxis)
        ax.set_xlabel("zero-shot accuracy in %")
        ax.margins(0.08)

    slope = trend.slope
    known = slope.low == slope.low  # not of one seed or two
    within = f" (95% interval over seeds {10 * slope.low:+.1f} to {10 * slope.high:+.1f})" if known else ""
    band = " The band varies the slope alone." if known else ""
    caption = (
        f"{trend.method} minus {trend.other} in points, over zero-shot accuracy; a dot is a configuration. Slope: {10 * slope.mean:+.1f} "
        f"points for each 10 points of zero-shot accuracy{within}.{band}"
    )
    label = f"Gain of {trend.method} over {trend.other} against zero-shot accuracy."
    return drawn(build, name=f"gain-{number}", label=label, caption=caption, height=250)


def map_figures(picture: Picture, number: int) -> list[Drawn]:
    """A t-SNE map of the test rows for each method, coloured by class."""
    labels = np.array(picture.labels)
    rows = map_rows(len(labels), most=MOST_DOTS)
    classes = [int(c) for c in np.unique(labels)]
    legend = [(series(k), short(picture.names[c], 30)) for k, c in enumerate(classes[:10])]
    made = []
    for place, (method, seen) in enumerate(picture.seen.items()):
        places = map_2d(seen.features[rows], seed=picture.seed, way="t-SNE")

        def build(figure: Figure, places: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = places) -> None:
            ax = _bare(figure)
            for k, c in enumerate(classes):
                put_dots(ax, places[labels[rows] == c], series(k), 5.0, 0.85)
            ax.autoscale_view()
            ax.margins(0.06)

        caption = f"{short(method, 40)}: within- over between-class variance {seen.ratio:.2f}"
        shown = legend if place == len(picture.seen) - 1 else []
        label = f"{picture.data}: map of the test rows by {method}."
        made.append(drawn(build, name=f"map-{number}-{place}", label=label, caption=caption, height=250, width=250, legend=shown))
    return made


def _bare(figure: Figure) -> Axes:
    ax = axes(figure, left=2, right=2, top=2, bottom=2)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    return ax
