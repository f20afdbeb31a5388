"""Figures of a comparison: intervals, curves over shots, critical differences of ranks, cost against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fewtune.evaluation.summary import Line, Summary
from fewtune.evaluation.training_settings import Cost
from fewtune.report.drawing import ACCENT, INK, MUTED, Drawn, accuracies_upwards, axes, drawn, percent_ticks, room, series, short
from fewtune.report.judged import judged
from fewtune.statistics import average_ranks, friedman_test, nemenyi_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTERS = 18  # of a method's name beside a figure


def intervals_figure(lines: Sequence[Line], title: str, number: int, name: str = "intervals") -> Drawn:
    """The mean of each method in one setting with its interval, the best on top."""
    ordered = sorted(lines, key=lambda line: line.mean)
    names = [short(line.method, LETTERS) for line in ordered]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=room(names) + 10, right=14, top=6, bottom=36)
        ax.grid(True, axis="x")
        for place, line in enumerate(ordered):
            colour = ACCENT if line.winner else INK
            ax.plot([line.interval.low, line.interval.high], [place, place], color=colour, linewidth=2.2)
            ax.plot([line.mean], [place], marker="o", markersize=5.6, color=colour)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(-0.6, len(names) - 0.4)
        percent_ticks(ax.xaxis)
        ax.set_xlabel(judged(lines).axis)

    best = ordered[-1]
    label = f"{title}: {best.method} is on top with {judged(lines).shown(best.mean)}."
    caption = f"{title}. The line is the 95% interval over episodes. Coloured: better than every other method."
    return drawn(build, name=f"{name}{number}", label=label, caption=caption, height=52 + 22 * len(ordered))


def shots_figure(lines: Sequence[Line], title: str, number: int, name: str = "shots") -> Drawn | None:
    """The mean over shots, a curve for each method; None where fewer than two numbers of shots were compared."""
    methods = list(dict.fromkeys(line.method for line in lines))
    shots = sorted({int(line.shots) for line in lines if line.shots.isdigit()})
    if len(shots) < 2:
        return None

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38)
        ax.set_xscale("log", base=2)
        for place, name in enumerate(methods):
            mine = sorted((line for line in lines if line.method == name and line.shots.isdigit()), key=lambda line: int(line.shots))
            at = [int(line.shots) for line in mine]
            ax.vlines(at, [line.interval.low for line in mine], [line.interval.high for line in mine], color=series(place), linewidth=1.2)
            ax.plot(at, [line.mean for line in mine], marker="o", markersize=4.4, color=series(place))
        ax.set_xticks(shots, [str(s) for s in shots])
        ax.set_xticks([], minor=True)
        accuracies_upwards(ax, along="labelled examples a class", least=judged(lines).least)

    legend = [(series(place), name) for place, name in enumerate(methods)]
    label = f"{title}: {judged(lines).name} of {len(methods)} methods with {', '.join(map(str, shots))} shots."
    caption = f"{title}. {judged(lines).said}; the upright lines are 95% intervals over episodes."
    return drawn(build, name=f"{name}{number}", label=label, caption=caption, height=250, legend=legend)


def backbones_figure(lines: Sequence[Line], title: str, number: int) -> Drawn | None:
    """One method through several backbones (or from several starts): accuracy over shots with a line each, or a point each where there is
    one number of shots; None for one backbone. `lines`: those of one method on one target.
    """
    backbones = list(dict.fromkeys(line.backbone for line in lines))
    if len(backbones) < 2:
        return None
    names = apart(backbones)
    relabelled = [replace(line, method=names[backbones.index(line.backbone)], winner=False) for line in lines]
    made = shots_figure(relabelled, title, number, "starts") or intervals_figure(relabelled, title, number, "starts")
    return replace(made, caption=made.caption.replace(" Coloured: better than every other method.", ""))


def apart(names: Sequence[str]) -> list[str]:
    """Names without the options (parts between commas) that all of them have; whole where nothing else would be left."""
    parts = [name.split(",") for name in names]
    common = set(parts[0]).intersection(*parts)
    return [
        ",".join(one for one in mine if one not in common) or ("as named" if len(mine) == len(common) else name)
        for name, mine in zip(names, parts, strict=True)
    ]


def ranks_figure(summary: Summary) -> Drawn | None:
    """The critical-difference diagram over all settings; None with fewer than three methods or two settings.

    Reference: Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.
    """
    methods = list(dict.fromkeys(line.method for line in summary.lines))
    scores = np.array([[line.shared for line in summary.lines if line.method == m] for m in methods])
    if len(methods) < 3 or scores.shape[1] < 2:
        return None
    ranks = average_ranks(scores)
    p, critical = friedman_test(scores), nemenyi_difference(*scores.shape)
    order = np.argsort(ranks, kind="stable").tolist()
    bars = alike(ranks[order], critical)

    def build(figure: Figure) -> None:
        ax = axes(figure, left=14, right=14, top=26, bottom=6)
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        ax.xaxis.tick_top()
        ax.set_yticks([])
        low, high = 1 - 0.28 * (len(methods) - 1), len(methods) + 0.28 * (len(methods) - 1)  # room for names beside the ranks
        ax.set_xlim(low, high)
        half = (len(order) + 1) // 2
        ax.set_ylim(half + 0.6 + 0.3 * len(bars), -0.1)
        ax.set_xticks(range(1, len(methods) + 1))
        ax.axhline(0, color=MUTED, linewidth=1)
        for step, (first, last) in enumerate(bars):
            height = 0.25 + 0.3 * step
            ax.plot([ranks[order[first]] - 0.04, ranks[order[last]] + 0.04], [height] * 2, color=ACCENT, linewidth=3.2)
        for place, which in enumerate(order):
            left = place < half
            height = 0.3 * len(bars) + 0.6 + (place if left else len(order) - 1 - place)
            edge = low if left else high
            ax.plot([ranks[which], ranks[which], edge], [0, height, height], color=INK, linewidth=1)
            text = f"{short(methods[which], LETTERS)} {ranks[which]:.2f}"
            ax.text(edge, height - 0.08, text, ha="left" if left else "right", va="bottom", size=10)

    verdict = "do not all rank alike" if p < 0.05 else "are not shown to rank differently"
    label = "Average ranks: " + ", ".join(f"{methods[i]} {ranks[i]:.2f}" for i in order) + "."
    caption = (
        f"Average ranks over {scores.shape[1]} settings, 1 is the best. Friedman's test: the methods {verdict} (p = {p:.3f}). Methods "
        f"under one bar are closer than the critical difference of {critical:.2f} ranks (Nemenyi, 95%). Settings of the same "
        "data depend on each other."
    )
    half = (len(order) + 1) // 2
    return drawn(build, name="ranks", label=label, caption=caption, height=60 + 26 * half + 9 * len(bars))


def alike(ranks: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]], critical: float) -> list[tuple[int, int]]:
    """The widest groups of neighbours, of ranks in increasing order, that lie within the critical difference: (first, last) of each."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] <= critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def cost_figure(lines: Sequence[Line], seconds: Mapping[str, float], costs: Sequence[Cost]) -> Drawn | None:
    """The mean over settings against what it took: seconds of training and of answering 1,000 episodes; None for one method."""
    methods = list(dict.fromkeys(line.method for line in lines))
    if len(methods) < 2:
        return None
    metric = judged(lines)
    mean = {m: float(np.mean([line.mean for line in lines if line.method == m])) for m in methods}
    trained = {m: float(np.mean([cost.seconds for cost in costs if cost.method == m] or [0.0])) for m in methods}
    spent = {m: max(1000 * seconds[m] + trained[m], 1e-6) for m in methods}

    def build(figure: Figure) -> None:
        ax = axes(figure, left=38, right=22)
        ax.set_xscale("log")
        ticks = [10.0**k for k in range(-6, 9) if min(spent.values()) / 10 < 10.0**k < max(spent.values()) * 10]
        ax.set_xticks(ticks, [f"{tick:,.6f}".rstrip("0").rstrip(".") for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlim(ticks[0], ticks[-1])
        for place, name in enumerate(methods):
            ax.plot([spent[name]], [mean[name]], marker="o", markersize=7, color=series(place))
        accuracies_upwards(ax, along="seconds of training and of 1,000 episodes", least=metric.least)

    legend = [(series(place), f"{name}: {spent[name]:,.3g} s") for place, name in enumerate(methods)]
    label = f"{metric.title} against time: " + ", ".join(f"{m} {metric.shown(mean[m])} in {spent[m]:.3g} s" for m in methods) + "."
    caption = f"{metric.said}, the mean over all settings, against the time of training (if any) and of answering 1,000 episodes."
    return drawn(build, name="cost", label=label, caption=caption, height=240, legend=legend)
