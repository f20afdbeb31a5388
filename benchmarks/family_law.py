"""The law of the downstream error on a family of networks: tables, and two figures.

    python benchmarks/family_law.py FAMILY.jsonl [--head ridge] [--shots 5] [--figures FOLDER]

FAMILY.jsonl is what `benchmarks/family.py` wrote. Asked, before any of it was run: does the downstream error fall with the upstream error
(Spearman's correlation); does e_DS = scale e_US^exponent + floor fit the hull and all points (r2), with a floor above 0 and exponents that
differ between sets; how many networks does a law need (fitting and prediction error of subsets, the best fifth held out); do scale,
exponent and floor go with log shots; what does the upstream error leave open (the spread of residuals), and do width, rows, updates and
the penalty on the head explain it (slopes of the residuals), or does all scale give one curve; how far do networks lie above another set's
hull; which scaling of both axes is the straightest; does a penalty on the head raise the upstream and lower the downstream error.
Intervals are 95%: bootstraps over networks for the law, Student's t over pairs of networks for the penalty.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fewtune.errors import InputError
from fewtune.report.drawing import picture
from fewtune.statistics import Interval, paired_interval
from fewtune.statistics.number_metrics import spearman
from fewtune.transfer import (
    DownstreamLaw,
    downstream_law,
    hull,
    overlay,
    rescaled,
    residual_spread,
    sensitivity,
    shot_correlations,
)

SHOTS = (1, 5, 20)
AXES = ("width", "rows", "steps", "decay")
SCALES: tuple[Literal["linear", "logit", "log_error"], ...] = ("linear", "logit", "log_error")
RESAMPLES = 400


class Family:
    """The networks: upstream errors [N], downstream errors by set and shots, settings by axis."""

    def __init__(self, lines: Sequence[Mapping[str, Any]], head: str) -> None:
        self.lines = lines
        self.us = np.array([line["us"] for line in lines])
        self.sets = tuple(lines[0]["ds"])
        self.ds = {(name, k): np.array([line["ds"][name][head][i] for line in lines]) for name in self.sets for i, k in enumerate(SHOTS)}
        self.known: dict[tuple[str, str], dict[int, DownstreamLaw]] = {}
        self.scales = {axis: np.array([line[axis] for line in lines], dtype=np.float64) for axis in AXES}

    def laws(self, name: str, points: Literal["hull", "all"]) -> dict[int, DownstreamLaw]:
        """By shots; without those whose hull has too few points."""
        if (name, points) not in self.known:
            self.known[name, points] = self.fitted(name, points)
        return self.known[name, points]

    def fitted(self, name: str, points: Literal["hull", "all"]) -> dict[int, DownstreamLaw]:
        found = {}
        for shots in SHOTS:
            try:
                found[shots] = downstream_law(self.us, self.ds[name, shots], points, resamples=RESAMPLES)
            except InputError as problem:
                print(f"{name}, {shots} shots, {points}: {problem}")
        return found


def spread(interval: Interval, digits: int = 2) -> str:
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def law_table(family: Family) -> list[str]:
    lines = ["| set | shots | Spearman | fitted to | points | scale | exponent | floor | r2 |", "|---|--:|--:|---|--:|---|---|---|--:|"]
    for name in family.sets:
        for points in ("hull", "all"):
            for shots, law in family.laws(name, points).items():
                ranks = spearman(family.us, family.ds[name, shots])
                fit = f"{spread(law.scale)} | {spread(law.exponent)} | {spread(law.floor)} | {law.r2:.2f}"
                lines.append(f"| {name} | {shots} | {ranks:.2f} | {points} | {len(law.points)} | {fit} |")
    return lines


def shots_table(family: Family) -> list[str]:
    """Pearson's correlations with log shots, of laws of all points; intervals over resampled networks, the same for all shots."""
    lines = ["| set | scale | exponent | floor |", "|---|---|---|---|"]
    along = np.log(np.array(SHOTS, dtype=np.float64))
    along = (along - along.mean()) / along.std()
    for name in family.sets:
        laws = family.laws(name, "all")
        values = np.stack([laws[k].resampled for k in SHOTS])  # shots, resamples, (floor, scale, exponent)
        off = values - values.mean(0)
        with np.errstate(invalid="ignore"):
            again = np.nan_to_num((along[:, None, None] * off).mean(0) / values.std(0))
        low, high = np.quantile(again, [0.025, 0.975], axis=0)
        means = shot_correlations(laws)
        cells = [f"{means[n][0]:.2f} ({low[i]:.2f} to {high[i]:.2f})" for n, i in (("scale", 1), ("exponent", 2), ("floor", 0))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def sizes_of(family: Family) -> list[int]:
    most = len(family.us) - max(1, round(0.2 * len(family.us)))
    return [size for size in (6, 10, 20, 40, most) if size <= most]


def sensitivity_table(family: Family, shots: int) -> list[str]:
    sizes = sizes_of(family)
    lines = [f"| set, fitted to | {' | '.join(map(str, sizes))} |", "|---|" + "--:|" * len(sizes)]
    for name in family.sets:
        for points in ("hull", "all"):
            found = sensitivity(family.us, family.ds[name, shots], sizes, points, repeats=200)
            pairs = zip(_mean(found.fitting), _mean(found.prediction), strict=True)
            lines.append(f"| {name}, {points} | {' | '.join(f'{100 * f:.1f} / {100 * p:.1f}' for f, p in pairs)} |")
    return lines


def _mean(values: np.ndarray) -> np.ndarray:
    return np.array([np.nanmean(one) if np.isfinite(one).any() else np.nan for one in values])


def residual_table(family: Family, shots: int) -> list[str]:
    """Residuals around the law of all points, in points; and by how much they rise over each axis's range (a straight line in its log)."""
    lines = [f"| set | spread | {' | '.join(AXES)} |", "|---|--:|" + "---|" * len(AXES)]
    columns = [np.log(family.scales[a]) if a != "decay" else family.scales[a] for a in AXES]
    design = np.stack([np.ones(len(family.us)), *[(c - c.mean()) / np.ptp(c) if np.ptp(c) else c * 0 for c in columns]], axis=1)
    for name in family.sets:
        y = family.ds[name, shots]
        left = 100 * (y - downstream_law(family.us, y, resamples=0).predict(family.us))
        slopes = np.linalg.lstsq(design, left, rcond=None)[0]
        random = np.random.default_rng(0)
        again = []
        for _ in range(RESAMPLES):
            some = random.integers(len(y), size=len(y))
            refit = downstream_law(family.us[some], y[some], resamples=0)
            again.append(np.linalg.lstsq(design[some], 100 * (y[some] - refit.predict(family.us[some])), rcond=None)[0])
        low, high = np.quantile(again, [0.025, 0.975], axis=0)
        cells = [f"{slopes[i]:+.1f} ({low[i]:+.1f} to {high[i]:+.1f})" for i in range(1, len(AXES) + 1)]
        lines.append(f"| {name} | {100 * residual_spread(family.us, y):.1f} | {' | '.join(cells)} |")
    return lines


def overlay_table(family: Family, shots: int) -> list[str]:
    """The median of how far networks lie above each set's hull (columns), in points."""
    lines = [f"| networks on | above the hull of {' | '.join(family.sets)} |", "|---|" + "--:|" * len(family.sets)]
    for name in family.sets:
        mine = family.ds[name, shots]
        above = [100 * np.nanmedian(overlay(family.us, mine, family.us, family.ds[other, shots])) for other in family.sets]
        lines.append(f"| {name} | {' | '.join(f'{value:+.1f}' for value in above)} |")
    return lines


def scaling_table(family: Family, shots: int) -> list[str]:
    """The share of variance that a straight line explains, both accuracies on one scale."""
    lines = [f"| set | {' | '.join(SCALES)} |", "|---|" + "--:|" * len(SCALES)]
    for name in family.sets:
        squares = [np.corrcoef(rescaled(1 - family.us, s), rescaled(1 - family.ds[name, shots], s))[0, 1] ** 2 for s in SCALES]
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in squares)} |")
    return lines


def penalty_table(family: Family, shots: int) -> list[str]:
    """Errors with the largest penalty on the head minus those without, of networks that are otherwise alike, in points."""
    by = {tuple(line[n] for n in ("width", "rows", "steps", "decay", "seed")): i for i, line in enumerate(family.lines)}
    least, most = family.scales["decay"].min(), family.scales["decay"].max()
    pairs = [(i, by[other]) for one, i in by.items() if one[3] == least and (other := (*one[:3], most, one[4])) in by]
    if most == least or len(pairs) < 2:
        return ["No two networks differ in the penalty alone."]
    before, after = (np.array(side) for side in zip(*pairs, strict=True))
    gap = lambda e: paired_interval(100 * (e[after] - e[before]))  # noqa: E731
    lines = [
        f"| error ({len(pairs)} pairs) | penalty {most:g} minus {least:g} |",
        "|---|---|",
        f"| upstream | {spread(gap(family.us), 1)} |",
    ]
    return [*lines, *(f"| {name} | {spread(gap(family.ds[name, shots]), 1)} |" for name in family.sets)]


def scatter(family: Family, shots: int) -> bytes:
    """A panel a set: networks, their hull, the laws of the hull and of all points."""

    def build(figure: Any) -> None:
        for i, name in enumerate(family.sets):
            ax = figure.add_axes((0.055 + i * 0.192, 0.2, 0.16, 0.66))
            y, along = family.ds[name, shots], np.linspace(family.us.min(), family.us.max(), 60)
            ax.scatter(1 - family.us, 1 - y, s=6 + 4 * np.log2(family.scales["width"] / 8), alpha=0.45, linewidths=0)
            edge = hull(family.us, y)
            ax.plot(1 - family.us[edge], 1 - y[edge], linewidth=1, color="black")
            for points, style in (("hull", "-"), ("all", "--")):
                if shots in (laws := family.laws(name, points)):
                    ax.plot(1 - along, 1 - laws[shots].predict(along), style, color="C3", linewidth=1)
            ax.set_title(name, fontsize=9)
            ax.set_xlabel("accuracy upstream", fontsize=8)
            ax.tick_params(labelsize=7)
        figure.axes[0].set_ylabel(f"accuracy, {shots} shots", fontsize=8)

    return picture(build, height=190, width=860, format="png")


def dependence(family: Family, shots: int) -> bytes:
    """Hulls of all sets; prediction error against the number of networks; floors against shots."""

    def build(figure: Any) -> None:
        left, middle, right = (figure.add_axes((0.07 + i * 0.33, 0.2, 0.245, 0.66)) for i in range(3))
        for i, name in enumerate(family.sets):
            y, colour = family.ds[name, shots], f"C{i}"
            edge = hull(family.us, y)
            left.plot(1 - family.us[edge], 1 - y[edge], marker="o", markersize=3, color=colour, label=name)
            sizes = sizes_of(family)
            found = sensitivity(family.us, y, sizes, "all", repeats=200)
            middle.plot(sizes, 100 * _mean(found.prediction), marker="o", markersize=3, color=colour)
            middle.plot(sizes, 100 * _mean(found.fitting), "--", color=colour, linewidth=1)
            laws = family.laws(name, "all")
            floors = [laws[k].floor for k in SHOTS]
            off = [[f.mean - f.low for f in floors], [f.high - f.mean for f in floors]]
            right.errorbar(np.array(SHOTS) * 1.06 ** (i - 2), [f.mean for f in floors], yerr=off, marker="o", markersize=3, color=colour)
        left.set(xlabel="accuracy upstream", ylabel=f"accuracy, {shots} shots", title="hulls")
        middle.set(xlabel="networks", ylabel="error of the law, points", title="held-out networks (dashed: fitted)", xscale="log")
        right.set(xlabel="shots", ylabel="floor", title="floor of the law of all points", xscale="log")
        for ax, ticks in ((middle, sizes_of(family)), (right, SHOTS)):
            ax.minorticks_off()
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
        left.legend(fontsize=7, frameon=False)

    return picture(build, height=240, width=860, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", type=Path)
    parser.add_argument("--head", choices=("ridge", "centroid"), default="ridge")
    parser.add_argument("--shots", type=int, choices=SHOTS, default=5)
    parser.add_argument("--figures", type=Path)
    asked = parser.parse_args()
    family = Family([json.loads(line) for line in asked.family.read_text().splitlines()], asked.head)
    print(f"{len(family.us)} networks, upstream error {family.us.min():.3f} to {family.us.max():.3f}")
    tables = (law_table(family), shots_table(family))
    by_shots = (sensitivity_table, residual_table, overlay_table, scaling_table, penalty_table)
    for table in (*tables, *(make(family, asked.shots) for make in by_shots)):
        print("", *table, sep="\n")
    for name in family.sets:
        best = int(family.ds[name, asked.shots].argmin())
        print(f"{name}: best {family.ds[name, asked.shots][best]:.3f} at upstream error {family.us[best]:.3f} (best {family.us.min():.3f})")
    if asked.figures is not None:
        (asked.figures / "family_scatter.png").write_bytes(scatter(family, asked.shots))
        (asked.figures / "family_dependence.png").write_bytes(dependence(family, asked.shots))


if __name__ == "__main__":
    main()
