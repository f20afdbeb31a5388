"""What is transferred between runs: sentences, tables, figures, and the page of the command `transfer`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.errors import InputError
from fewtune.files import new_folder, write_bytes
from fewtune.models.bundle import REPORT
from fewtune.report.drawing import INK, Drawn, accuracies_upwards, axes, drawn, percent_ticks, room, series, short
from fewtune.report.page import environment
from fewtune.report.tables import Cell, Table, to_csv
from fewtune.report.valley_figure import valley_figure
from fewtune.statistics.intervals import Interval
from fewtune.studies.transferred.compare import Judged, Pair, Transferred
from fewtune.studies.transferred.shifted import Shifted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = "lines.csv"
WRITES = (REPORT, CURVES)
LONGEST = 18  # letters of a name in a figure


def sentences(found: Transferred) -> list[str]:
    """What was found, in words."""
    said = []
    for pair in found.pairs:
        one = pair.barriers["accuracy"].value
        loss = pair.barriers["loss"].value
        if one.low > 0 or loss.low > 0:
            said.append(
                f"Between {pair.first} and {pair.second} there is a barrier: accuracy falls by {_points(one)} below the line between them, "
                f"and the loss rises by {_spread(loss, 2)}. They lie in different basins."
            )
        else:
            said.append(
                f"Between {pair.first} and {pair.second} no barrier is shown: accuracy falls by at most {100 * one.high:.1f} points "
                "below the line between them."
            )
        middle = pair.barriers["accuracy"].middle
        if middle.low > 0:
            said.append(f"Mixing {pair.first} and {pair.second} is better than the line between them, by up to {_points(middle)}.")
    for run in found.runs:
        said += _rewound(run)
    return said


def _rewound(run: Judged) -> list[str]:
    """The group that matters most, where one is shown to matter."""
    if not run.drops:
        return []
    title, drop = max(run.drops.items(), key=lambda item: (item[1].low > 0, item[1].mean))
    if drop.low > 0:
        return [f"In {run.name}, {title} matters most: put back to its start, accuracy falls by {_points(drop)}."]
    if len(run.drops) == 1:
        return [f"In {run.name}, {title} is not shown to matter: to put it back to its start costs {_points(drop)} of accuracy."]
    return [f"In {run.name}, no group alone is shown to matter: to put {title} back to its start costs most, {_points(drop)} of accuracy."]


def tables(found: Transferred) -> list[Table]:
    """All tables, in the order of the page."""
    made = [_pairs_table(found.pairs), _runs_table(found.runs)]
    made += [_domains_table(found.runs)] if any(run.groups for run in found.runs) else []
    made += [_shifts_table(found.shifts), _over_shifts_table(found)] if found.shifts else []
    made += [_groups_table(run) for run in found.runs if run.norms]
    return made


def figures(found: Transferred) -> list[Drawn]:
    """The lines between runs, accuracy by depth, and the valleys of each run."""
    made = [_lines(found.pairs)]
    made += [_depth(found.runs)] if any(run.depth for run in found.runs) else []
    return made + [valley_figure(run.valleys, run.name, name=f"valley{i}").drawn() for i, run in enumerate(found.runs) if run.valleys]


def write_transferred(found: Transferred, out: Path, *, overwrite: bool) -> Path:
    """Write the page and the lines (CSV) into a folder; returns where it is. Raises InputError for a name that is taken."""
    if out.suffix.lower() in (".csv", ".html"):
        raise InputError(f"{out}: expected the name of a folder for --out.")
    given = {"found": found, "sentences": sentences(found), "tables": tables(found), "figures": figures(found)}
    page = environment().get_template("transferred.html.j2").render(**given)
    with (made := new_folder(out, overwrite=overwrite)) as folder:
        write_bytes(folder / REPORT, page.encode("utf-8", "replace"))
        write_bytes(folder / CURVES, (to_csv(_lines_table(found.pairs)) + "\n").encode("utf-8", "replace"))
    return made.where


def _pairs_table(pairs: Sequence[Pair]) -> Table:
    rows = tuple(
        (
            Cell(pair.first),
            Cell(pair.second),
            _points_cell(pair.barriers["accuracy"].value),
            Cell((b := pair.barriers["loss"].value).mean, _spread(b, 2)),
            _points_cell(pair.barriers["auc"].value) if "auc" in pair.barriers else Cell(None),
            Cell(pair.agreement.kappa, f"{pair.agreement.kappa:.2f}" if math.isfinite(pair.agreement.kappa) else ""),
            Cell(100 * pair.agreement.common, f"{100 * pair.agreement.common:.1f} ({100 * pair.agreement.independent:.1f})"),
            Cell(pair.apart, f"{pair.apart:.3g}"),
            Cell(pair.one_start, "" if pair.one_start is None else "yes" if pair.one_start else "no"),
        )
        for pair in pairs
    )
    notes = (
        "A barrier is how far the line through weight space falls below the straight line between both ends at its worst point: points of "
        "accuracy, nats of loss, points of AUC. kappa: agreement of errors, 0 by chance. Both wrong: % of rows, in brackets if errors were "
        "independent.",
    )
    columns = ("first", "second", "barrier", "loss barrier", "AUC barrier", "kappa", "both wrong", "apart", "one start")
    return Table(columns=columns, rows=rows, caption="Pairs of runs", notes=notes)


def _runs_table(runs: Sequence[Judged]) -> Table:
    rows = tuple(
        (
            Cell(run.name),
            Cell(run.accuracy.mean, f"{100 * run.accuracy.mean:.1f}"),
            Cell((run.accuracy.low, run.accuracy.high), f"{100 * run.accuracy.low:.1f} to {100 * run.accuracy.high:.1f}"),
            Cell(run.margin, f"{run.margin:+.2f}"),
            Cell(None if run.criticality is None else run.criticality.total),
        )
        for run in runs
    )
    notes = ("margin: the median over rows of log p(right class) minus the largest other.",)
    return Table(columns=("run", "accuracy", "95%", "margin", "criticality"), rows=rows, caption="Runs", notes=notes)


def _shifts_table(shifts: Sequence[Shifted]) -> Table:
    rows = tuple(
        (
            Cell(one.shift),
            Cell(run),
            Cell(one.count),
            _points_cell(accuracy),
            _points_cell(one.fall[run]) if run in one.fall else Cell(None),
        )
        for one in shifts
        for run, accuracy in one.accuracy.items()
    )
    notes = ("Fall: points of accuracy lost on the same rows; unknown where the shift is one of rows and not of photos.",)
    return Table(columns=("shift", "run", "rows", "accuracy", "fall"), rows=rows, caption="Under shifts", notes=notes)


def _domains_table(runs: Sequence[Judged]) -> Table:
    """Accuracy by group of the data, their mean, and the worst."""
    judged = [(run.name, run.groups) for run in runs if run.groups is not None]
    rows = []
    for name, found in judged:
        lines = {**found.each, "mean of the groups": found.mean, f"worst: {found.worst}": found.lowest}
        rows += [(Cell(name), Cell(said), Cell(one.n), _points_cell(one)) for said, one in lines.items()]
    notes = ("In the mean each group counts once. That a group was picked as the worst makes its accuracy a little too low.",)
    return Table(columns=("run", "group", "rows", "accuracy"), rows=tuple(rows), caption="By group of the data", notes=notes)


def _over_shifts_table(found: Transferred) -> Table:
    """Each run as it is, the mean over shifts, and the worst of them."""
    rows = []
    for run in found.runs:
        each = {one.shift: one.accuracy[run.name] for one in found.shifts}
        worst = min(each, key=lambda shift: each[shift].mean)
        mean = sum(one.mean for one in each.values()) / len(each)
        rows.append(
            (Cell(run.name), _points_cell(run.accuracy), Cell(100 * mean, f"{100 * mean:.1f}"), Cell(worst), _points_cell(each[worst]))
        )
    columns = ("run", "without a shift", "mean of the shifts", "worst shift", "accuracy there")
    return Table(columns=columns, rows=tuple(rows), caption="Over the shifts")


def _groups_table(run: Judged) -> Table:
    critical = {} if run.criticality is None else run.criticality.modules
    rows = tuple(
        (
            Cell(title),
            _points_cell(run.drops[title]) if title in run.drops else Cell(None),
            Cell(critical[title].value) if title in critical else Cell(None),
            Cell(before, f"{before:.3g}") if before else Cell(None),
            Cell(after, f"{after:.3g}"),
            _depth_cell(run, title, start=True),
            _depth_cell(run, title, start=False),
        )
        for title, (before, after) in run.norms.items()
    )
    notes = (
        "Rewound: points of accuracy lost when this group alone is put back to its start. Head here: accuracy of a new head on the output "
        "of this group, at the start and at the end. norm: of all weights of the group.",
    )
    columns = ("group", "rewound", "criticality", "norm before", "norm after", "head here before", "head here after")
    return Table(columns=columns, rows=rows, caption=f"Groups of {run.name}, from input to output", notes=notes)


def _depth_cell(run: Judged, title: str, *, start: bool) -> Cell:
    probes = run.start_depth if start else run.depth
    return Cell(None) if title not in probes else Cell(probes[title].accuracy.mean, f"{100 * probes[title].accuracy.mean:.1f}")


def _lines_table(pairs: Sequence[Pair]) -> Table:
    rows = tuple(
        (Cell(pair.first), Cell(pair.second), Cell(point), Cell(float(value)))
        for pair in pairs
        for point, value in zip(pair.points, pair.accuracy, strict=True)
    )
    return Table(columns=("first", "second", "point", "accuracy"), rows=rows, caption="Accuracy on the line between two runs")


def _lines(pairs: Sequence[Pair]) -> Drawn:
    def build(figure: Figure) -> None:
        ax = axes(figure, left=42)
        for i, pair in enumerate(pairs):
            ax.plot(pair.points, pair.accuracy, color=series(i), marker="o", markersize=3.2)
        for end in (0, 1):
            ax.axvline(end, color=INK, linewidth=0.8)
        accuracies_upwards(ax, along="0: the first run, 1: the second")

    label = "; ".join(f"{p.first} to {p.second}: barrier {100 * p.barriers['accuracy'].value.mean:.1f} points" for p in pairs)
    caption = "Accuracy of mixed weights, (1 - a) first + a second. A valley between the two upright lines is a barrier."
    legend = [(series(i), f"{short(pair.first, LONGEST)} to {short(pair.second, LONGEST)}") for i, pair in enumerate(pairs)]
    return drawn(build, name="lines", label=label, caption=caption, height=230, legend=legend)


def _depth(runs: Sequence[Judged]) -> Drawn:
    shown = [run for run in runs if run.depth]
    titles = list(shown[0].depth)
    names = [short(title, LONGEST) for title in titles]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=room(names) + 8, right=14, bottom=36)
        ax.grid(axis="x")
        for i, run in enumerate(shown):
            places = range(len(titles) - 1, -1, -1)
            ax.plot([run.depth[t].accuracy.mean for t in titles], places, color=series(i), marker="o", markersize=3.2)
        ax.set_yticks(range(len(titles)), names[::-1])
        percent_ticks(ax.xaxis)
        ax.set_xlabel("accuracy of a new head on this group")

    label = "; ".join(f"{run.name}: {100 * run.depth[titles[-1]].accuracy.mean:.0f}% at the last group" for run in shown)
    caption = "A new head on the output of every group, from the input (top) to the output: how much of the task can be read off there."
    legend = [(series(i), short(run.name, LONGEST)) for i, run in enumerate(shown)]
    return drawn(build, name="depth", label=label, caption=caption, height=60 + 20 * len(titles), legend=legend)


def _points_cell(value: Interval) -> Cell:
    return Cell((100 * value.mean, 100 * value.low, 100 * value.high), _spread(value, 1, 100.0))


def _points(value: Interval) -> str:
    return f"{100 * value.mean:.1f} points ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _spread(value: Interval, digits: int, times: float = 1.0) -> str:
    return f"{times * value.mean:.{digits}f} ({times * value.low:.{digits}f} to {times * value.high:.{digits}f})"
