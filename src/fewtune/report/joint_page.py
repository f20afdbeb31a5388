"""The HTML page of a model of several label columns. One file without scripts that loads nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.files import new_folder, write_bytes
from fewtune.joint.judged import TaskJudged
from fewtune.joint.outcome import JointJudgement, JointOutcome
from fewtune.joint.words import NAMES
from fewtune.models.bundle import REPORT
from fewtune.models.joint.bundle import write_joint
from fewtune.models.pack import pack_backbone
from fewtune.report.drawing import ACCENT, INK, MUTED, WRONG, Drawn, axes, drawn, room, short
from fewtune.report.joint_tables import measured_table, sharing_table, tasks_table, ways_table
from fewtune.report.page import environment
from fewtune.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 16  # letters of a column's name in a figure


def joint_page(outcome: JointOutcome) -> str:
    """The whole page as text. The same outcome gives the same bytes."""
    tables = [tasks_table(outcome), ways_table(outcome)]
    if any(found.sharing is not None for found in outcome.tasks):
        tables.insert(1, sharing_table(outcome))
    if outcome.measured:
        tables.insert(1, measured_table(outcome.measured, "Test rows, measured once"))
    figures = [values_figure(outcome.tasks), sharing_figure(outcome.tasks)]
    shown = [figure for figure in figures if figure is not None]
    return columns_page(outcome, tables, shown, command="adapt", heading="What to expect on new rows")


def columns_page(
    outcome: JointOutcome | JointJudgement, tables: Sequence[Table], figures: Sequence[Drawn], *, command: str, heading: str
) -> str:
    """A page that begins with the sentences of an outcome and ends with its details."""
    given = {"data": outcome.rows.table.examples.name, "outcome": outcome, "tables": tables, "figures": figures}
    return environment().get_template("joint.html.j2").render(**given, command=command, heading=heading)


def write_joint_page(path: Path, outcome: JointOutcome) -> None:
    """Write the page, whole or not at all."""
    write_bytes(path, joint_page(outcome).encode("utf-8", "replace"))


def save_outcome(outcome: JointOutcome, path: Path, *, overwrite: bool = False, pack: bool = False) -> tuple[Path, tuple[str, ...]]:
    """Write the model, its page and with `pack` the backbone's weights into one folder; (where it is, sentences on the packing)."""
    said: tuple[str, ...] = ()
    with (made := new_folder(path, overwrite=overwrite)) as folder:
        write_joint(outcome.bundle, folder)
        write_joint_page(folder / REPORT, outcome)
        if pack:
            said = pack_backbone(folder, outcome.rows.backbone)
    return made.where, said


def values_figure(tasks: tuple[TaskJudged, ...]) -> Drawn | None:
    """Each column's metric with its interval, beside guessing; columns that are judged by an error, which has no scale from 0 to 1, are
    left out. None where all are.
    """
    tasks = tuple(found for found in tasks if found.metric.better == "high")
    if not tasks:
        return None
    names = [short(found.task.name, LONGEST) for found in tasks]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=room(names) + 8, right=12, bottom=36)
        ax.grid(axis="x")
        for y, found in enumerate(reversed(tasks)):
            value = found.best.value
            if math.isfinite(value.low):
                ax.plot([max(value.low, -0.1), value.high], [y, y], color=ACCENT, linewidth=2.4)
            ax.plot([max(value.mean, -0.1)], [y], marker="o", markersize=5.6, color=INK)
            if math.isfinite(found.guessing):
                ax.plot([found.guessing], [y], marker="|", markersize=11, markeredgewidth=2, color=MUTED)
        ax.set_yticks(range(len(tasks)), names[::-1])
        ax.set_ylim(-0.5, len(tasks) - 0.5)  # no mark is cut
        ax.set_xlim(-0.12, 1.03)
        ax.set_xlabel("0: nothing, 1: perfect")

    metrics = ", ".join(dict.fromkeys(NAMES.get(found.metric.name, found.metric.name) for found in tasks))
    caption = f"How well held-out rows are answered: {metrics}. The band is the 95% interval; the grey mark is what guessing gets."
    label = "; ".join(f"{found.task.name} {found.best.value.mean:.2f}" for found in tasks)
    return drawn(build, name="values", label=label, caption=caption, height=60 + 26 * len(tasks))


def sharing_figure(tasks: tuple[TaskJudged, ...]) -> Drawn | None:
    """The gain of learning together, column by column; None where nothing was learned together."""
    pairs = [(found, found.sharing) for found in tasks if found.sharing is not None]
    if not pairs:
        return None
    names = [short(found.task.name, LONGEST) for found, _ in pairs]

    def build(figure: Figure) -> None:
        ax = axes(figure, left=room(names) + 8, right=12, bottom=36)
        ax.grid(axis="x")
        ax.axvline(0, color=INK, linewidth=1.1)
        for y, (_, sharing) in enumerate(reversed(pairs)):
            colour = {"helps": ACCENT, "hurts": WRONG}.get(sharing.verdict, MUTED)
            if math.isfinite(sharing.gain.low):
                ax.plot([sharing.gain.low, sharing.gain.high], [y, y], color=colour, linewidth=2.4)
            ax.plot([sharing.gain.mean], [y], marker="D", markersize=5.6, color=colour)
        ax.set_yticks(range(len(pairs)), names[::-1])
        ax.set_ylim(-0.5, len(pairs) - 0.5)
        ax.set_xlabel("learned together minus alone")

    caption = (
        "Right of the line, a network that learns all columns together is better than a network of its own for this column; left of it, "
        "together is worse (negative transfer). Where the band crosses the line, neither is shown."
    )
    label = "; ".join(f"{found.task.name} {sharing.gain.mean:+.3f}" for found, sharing in pairs)
    return drawn(build, name="sharing", label=label, caption=caption, height=60 + 26 * len(pairs))
