"""The page of a comparison in one file, without scripts: table, intervals, curves, ranks, cost, classes, groups and common errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.summary import Line, Summary
from fewtune.report.drawing import Drawn
from fewtune.report.judged import judged
from fewtune.report.page import environment
from fewtune.report.study_details import Answers, agreement_table, by_backbone, class_table, group_table, pairs_table
from fewtune.report.study_figures import backbones_figure, cost_figure, intervals_figure, ranks_figure, shots_figure
from fewtune.report.tables import Table


def study_page(table: Table, summary: Summary, outcomes: Outcomes, answers: Sequence[Answers]) -> str:
    """The whole page as text. The same outcomes give the same bytes."""
    result, metric = outcomes.result, judged(summary.lines)
    seconds = {name: float(np.mean(result.where(method=name).column("seconds"))) for name in result.distinct("method")}
    figures: list[tuple[str, str, list[Drawn]]] = [
        ("starts", "Backbones and starts", _starts(summary.lines)),
        ("shots", f"{metric.title} over labels", _curves(summary.lines)),
        ("intervals", "Intervals", _intervals(summary.lines)),
        ("ranks", "Average ranks", _known([ranks_figure(summary)])),
        ("cost", f"Cost and {metric.name}", _known([cost_figure(summary.lines, seconds, outcomes.costs)])),
    ]
    tables: list[tuple[str, str, str, list[Table]]] = [
        ("classes", "Accuracy by class, %", "The hardest classes first.", [class_table(one) for one in answers]),
        ("groups", "Accuracy by group, %", "The hardest groups first.", [t for one in answers if (t := group_table(one)) is not None]),
        (
            "errors",
            "Common errors, %",
            "Of the queries that at least one of two methods answers wrongly, how many both answer wrongly. Low: an ensemble of the two "
            "can repair much.",
            [t for one in answers if (t := agreement_table(one)) is not None],
        ),
        (
            "pairs",
            "The same queries, %",
            "Right and wrong of two methods on the same queries. Kappa is 0 where their errors are independent, 1 where they are the same.",
            [t for one in answers if (t := pairs_table(one)) is not None],
        ),
        (
            "start_pairs",
            "The same queries through several backbones or starts, %",
            "Right and wrong of one method through two of them on the same queries, in the same words.",
            [t for one in by_backbone(answers) if (t := pairs_table(one)) is not None],
        ),
    ]
    context = {
        "table": table,
        "title": table.caption or "Methods compared",
        "figures": [(name, title, drawn) for name, title, drawn in figures if drawn],
        "tables": [(name, title, said, found) for name, title, said, found in tables if found],
    }
    return environment().get_template("study.html.j2").render(context)


def _known(figures: Sequence[Drawn | None]) -> list[Drawn]:
    return [figure for figure in figures if figure is not None]


def _title(line: Line, lines: Sequence[Line]) -> str:
    several = [getattr(line, axis) for axis in ("target", "backbone") if len({getattr(x, axis) for x in lines}) > 1]
    return ", ".join([*several, f"{line.ways}-way {line.shots}-shot"])


def _intervals(lines: Sequence[Line]) -> list[Drawn]:
    settings = list(dict.fromkeys(line.setting for line in lines))
    parts = [[line for line in lines if line.setting == setting] for setting in settings]
    # one method alone is no comparison; through several backbones its intervals stand among the starts
    several = {name for name in {line.method for line in lines} if len({line.backbone for line in lines if line.method == name}) > 1}
    parts = [part for part in parts if len(part) > 1 or part[0].method not in several]
    return [intervals_figure(part, _title(part[0], lines), number) for number, part in enumerate(parts)]


def _curves(lines: Sequence[Line]) -> list[Drawn]:
    places = list(dict.fromkeys((line.target, line.backbone) for line in lines))
    parts = [[line for line in lines if (line.target, line.backbone) == place] for place in places]
    return _known([shots_figure(part, ", ".join(place), number) for number, (place, part) in enumerate(zip(places, parts, strict=True))])


def _starts(lines: Sequence[Line]) -> list[Drawn]:
    places = list(dict.fromkeys((line.target, line.method) for line in lines))
    parts = [[line for line in lines if (line.target, line.method) == place] for place in places]
    return _known(
        [backbones_figure(part, ", ".join(place), number) for number, (place, part) in enumerate(zip(places, parts, strict=True))]
    )
