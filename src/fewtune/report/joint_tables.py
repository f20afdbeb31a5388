"""What was found out on several label columns, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from fewtune.data.reading.columns_said import about
from fewtune.joint.outcome import JointJudgement, JointOutcome
from fewtune.joint.words import NAMES, between, shown, way_in_words
from fewtune.models.joint.evaluate import JointEvaluation, TaskMeasured
from fewtune.models.record import known
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.words import one_line


def tasks_table(outcome: JointOutcome) -> Table:
    """Each label column, how well held-out rows of it are answered, and by what."""
    rows = []
    for found in outcome.tasks:
        metric, value = found.metric.name, found.best.value
        rows.append(
            (
                Cell(found.task.name),
                Cell(about(found.task.column)),
                Cell(len(found.task.train)),
                Cell(NAMES.get(metric, metric)),
                Cell(value.mean, shown(metric, value.mean)),
                Cell((value.low, value.high), between(metric, value)),
                Cell(found.guessing, "" if math.isnan(found.guessing) else shown(metric, found.guessing)),
                Cell(way_in_words(found.chosen)),
            )
        )
    return Table(
        columns=("column", "what", "rows", "metric", "value", "95%", "guessing", "answered by"),
        rows=tuple(rows),
        caption="Label columns",
        notes=(f"On rows held out in {outcome.folds} folds: each was answered by models that had not seen it.",),
        keys=("column", "kind", "rows", "metric", "value", "interval", "guessing", "way"),
    )


def ways_table(outcome: JointOutcome) -> Table:
    """Every way beside every other, by the metric of each column; what was chosen is marked."""
    names = list(dict.fromkeys(name for found in outcome.tasks for name in found.ways))
    rows = tuple(
        (
            Cell(found.task.name),
            *(
                Cell(None)
                if name not in found.ways
                else Cell(found.ways[name].value.mean, shown(found.metric.name, found.ways[name].value.mean), best=name == found.chosen)
                for name in names
            ),
        )
        for found in outcome.tasks
    )
    notes = ("The way with the least held-out loss is marked and saved; its metric need not be the largest.",)
    return Table(columns=("column", *names), rows=rows, caption="Every way to answer", notes=notes)


def sharing_table(outcome: JointOutcome | JointJudgement) -> Table:
    """Learned alone and together: the gain of together, task by task."""
    rows = tuple(
        (
            Cell(found.task.name),
            Cell(NAMES.get(found.metric.name, found.metric.name)),
            Cell(found.sharing.gain.mean, f"{found.sharing.gain.mean:+.3f}"),
            Cell((found.sharing.gain.low, found.sharing.gain.high), f"{found.sharing.gain.low:+.3f} to {found.sharing.gain.high:+.3f}"),
            Cell(found.sharing.p, f"{found.sharing.p:.3f}"),
            Cell(found.sharing.verdict),
        )
        for found in outcome.tasks
        if found.sharing is not None
    )
    notes = (
        "Paired on held-out rows: one network for all columns against one network for each. One training seed a fold. "
        "helps, hurts: the 95% interval is on one side of 0; of 20 columns without a difference, about one is called so by chance.",
    )
    return Table(
        columns=("column", "metric", "gain of together", "95%", "p", "together"),
        rows=rows,
        caption="Should they be learned together?",
        notes=notes,
        keys=("column", "metric", "gain", "interval", "p", "verdict"),
    )


def measured_table(tasks: Sequence[TaskMeasured], caption: str) -> Table:
    """Every task by its own metrics."""
    rows = tuple(
        (
            Cell(one.name),
            Cell(one.rows),
            Cell(NAMES.get(one.metric, one.metric)),
            Cell(one.value.mean, shown(one.metric, one.value.mean)),
            Cell((one.value.low, one.value.high), between(one.metric, one.value)),
            Cell("; ".join(f"{name} {value:.3g}" for name, value in one.others.items() if not math.isnan(value))),
        )
        for one in tasks
    )
    unknown = any(math.isnan(one.value.mean) or math.isnan(one.value.low) for one in tasks)
    return Table(
        columns=("column", "rows", "metric", "value", "95%", "other metrics"),
        rows=rows,
        caption=caption,
        notes=("Unknown: intervals need two rows or more, and some metrics (R2, AUC) rows with different labels.",) if unknown else (),
        keys=("column", "rows", "metric", "value", "interval", "others"),
    )


def render_joint_evaluation(
    made: JointEvaluation, format: Literal["table", "json"], *, width: int | None = None, color: bool = False
) -> str:
    """`table`: every task by its metrics, and what was left out. `json`: one object; what is unknown is null."""
    if format == "json":
        tasks = {one.name: _record(one) for one in made.tasks}
        return json_text({"data": made.data, "tasks": tasks, "remarks": list(made.sentences)})
    table = to_terminal(measured_table(made.tasks, f"Answers on {made.data}"), width=width, color=color)
    return "\n\n".join([table, *(["\n".join(map(one_line, made.sentences))] if made.sentences else [])])


def _record(one: TaskMeasured) -> dict[str, object]:
    value = {"mean": known(one.value.mean), "low": known(one.value.low), "high": known(one.value.high)}
    return {"metric": one.metric, **value, "rows": one.rows, "others": {name: known(v) for name, v in one.others.items()}}
