"""The HTML page of the MAMF study: one file without scripts that loads nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.report.drawing import Drawn
from fewtune.report.mamf_figures import ablation_figure, accuracy_figure, gain_figure, map_figures, winner_figure
from fewtune.report.mamf_words import answers, remarks
from fewtune.report.page import environment
from fewtune.report.tables import Cell, Table, Value
from fewtune.statistics import Interval
from fewtune.studies.mamf.run import Ran
from fewtune.studies.mamf.summary import Spot, Summary, summarise


@final
@dataclass(frozen=True)
class Section:
    """Figures and a table under a heading; `small`: figures side by side."""

    title: str
    figures: tuple[Drawn, ...] = ()
    table: Table | None = None
    small: bool = False


def mamf_page(ran: Ran) -> str:
    """The whole page as text. The same study gives the same bytes."""
    summary = summarise(ran)
    collections = list(dict.fromkeys(spot.data for spot in summary.spots))
    context = {
        "title": f"{', '.join(collections)}: multitask finetuning, classical finetuning and FOMAML",
        "answers": answers(summary),
        "remarks": remarks(summary, ran),
        "sections": _sections(summary, ran, collections),
    }
    return environment().get_template("mamf.html.j2").render(context)


def _sections(summary: Summary, ran: Ran, collections: list[str]) -> list[Section]:
    grids = tuple(accuracy_figure(summary, data, number) for number, data in enumerate(collections))
    ablations = tuple(f for number, data in enumerate(collections) if (f := ablation_figure(summary, data, number)) is not None)
    found = [
        Section("Accuracy by task configuration", grids),
        Section("Fewer and more training tasks", ablations),
        Section("Which method wins, over zero-shot accuracy", (winner_figure(summary),)),
        Section("Gain over zero-shot accuracy", tuple(gain_figure(t, number) for number, t in enumerate(summary.trends))),
    ]
    for number, picture in enumerate(ran.pictures):
        title = f"What each method sees as alike: {picture.data}, trained on {picture.ways} classes a task"
        found.append(Section(title, tuple(map_figures(picture, number)), small=True))
    found += [Section("Within- over between-class variance of test rows", table=ratio_table(summary))]
    found += [Section("Every configuration", table=mamf_table(summary))]
    return [section for section in found if section.figures or section.table is not None]


def mamf_table(summary: Summary) -> Table:
    """A row for each configuration, with the accuracy of every method; the winner is marked where it is sure."""
    methods = list(dict.fromkeys(line.method for spot in summary.spots for line in spot.lines))
    columns = ["data", "part", "N", "T", "P(all seen)", *methods, "visits"]
    rows: list[list[Cell | Value]] = [
        [
            spot.data,
            spot.part,
            spot.ways,
            spot.tasks,
            Cell(spot.covered, f"{spot.covered:.3f}"),
            *(_cell(spot, m) for m in methods),
            _visits(spot),
        ]
        for spot in summary.spots
    ]
    keys = ["data", "part", "ways", "tasks", "covered", *methods, "visits"]
    return Table.of(columns, rows, "Accuracy in %", ("Bold: better than every other method (paired 95% interval).",), keys)


def ratio_table(summary: Summary) -> Table:
    """Variance ratios by collection, N and method, with intervals over seeds: smaller where classes are tight and far apart."""
    places = list(dict.fromkeys((data, ways) for data, ways, _ in summary.ratios))
    methods = list(dict.fromkeys(method for *_, method in summary.ratios))
    rows: list[list[Cell | Value]] = [
        [data, ways, *(_number(summary.ratios.get((data, ways, method))) for method in methods)] for data, ways in places
    ]
    note = "tr(within) / tr(between) of unit features by the weights that training ended with; smaller: tighter classes, farther apart."
    return Table.of(["data", "N", *methods], rows, "Variance ratio", (note,))


def _cell(spot: Spot, method: str) -> Cell:
    line = spot.line(method)
    if line is None:
        return Cell(None)
    half = "" if line.interval.low != line.interval.low else f" ± {100 * line.interval.half_width:.1f}"
    return Cell(line.mean, f"{100 * line.mean:.1f}{half}", best=spot.sure and spot.winner == method)


def _visits(spot: Spot) -> Cell:
    seen = [line.visits for line in spot.lines if line.visits]
    if not seen:
        return Cell(None)
    return Cell(max(seen), f"{min(seen):,} to {max(seen):,}" if min(seen) != max(seen) else f"{seen[0]:,}")


def _number(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell(None)
    half = "" if interval.low != interval.low else f" ± {interval.half_width:.2f}"
    return Cell(interval.mean, f"{interval.mean:.2f}{half}")
