"""The HTML page of a pretraining run: what was learned, the loss, and the probe on the way. One file that loads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fewtune.pretraining.outcome import ALIGNMENT, sentences_of, task_of
from fewtune.report.drawing import ACCENT, Drawn, accuracies_upwards, axes, drawn
from fewtune.report.figures_learning import curves_figure
from fewtune.report.findings import Curve
from fewtune.report.page import environment
from fewtune.report.tables import Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pretraining_page(record: Mapping[str, Any]) -> str:
    """The whole page as text. The same record gives the same bytes."""
    probe = record["probe"]
    figures = [_loss(record["curve"]), _held_out(record), None if probe is None else _probe(probe["accuracies"])]
    tables = [] if probe is None else [_accuracies(probe)]
    given: dict[str, Any] = {"figures": [one for one in figures if one is not None], "tables": [*tables, _settings(record)]}
    title = f"{task_of(record)} on {', '.join(one['name'] for one in record['data'])}"
    given["command"] = "align" if record["objective"] == ALIGNMENT else "pretrain"
    return environment().get_template("pretraining.html.j2").render(title=title, sentences=sentences_of(record), **given)


def _loss(curve: Sequence[Mapping[str, Any]]) -> Drawn | None:
    steps, loss = (np.array([float(row[name]) for row in curve]) for name in ("step", "loss"))
    return curves_figure([Curve(label="training loss", steps=steps, loss=loss)]) if len(curve) else None


def _held_out(record: Mapping[str, Any]) -> Drawn | None:
    """How often an alignment was right on texts that were held out, at the closed form and on the way; the kept one is a full dot."""
    looks, kept = [(int(step), float(accuracy)) for step, accuracy in record.get("looks", ())], int(record["steps"])
    if len(looks) < 2:
        return None

    def build(figure: Figure) -> None:
        ax = axes(figure, left=44, bottom=40)
        ax.plot([step for step, _ in looks], [accuracy for _, accuracy in looks], color=ACCENT, marker="o", markersize=4.6, mfc="white")
        ax.plot([kept], [dict(looks).get(kept, np.nan)], color=ACCENT, marker="o", markersize=7)
        accuracies_upwards(ax, along="update")

    label = "; ".join(f"after {step} updates {100 * accuracy:.1f}%" for step, accuracy in looks)
    caption = (
        f"How often the nearest of {record['ways']} texts is right, in percent, for photos of texts that were held out; update 0 is the "
        "closed form. The full dot is what was kept: it was chosen by these accuracies."
    )
    return drawn(build, name="held-out", label=label, caption=caption, height=210)


def _probe(points: Sequence[Mapping[str, float]]) -> Drawn:
    """The probe's accuracy with its interval at the start, at every checkpoint and at the end."""

    def build(figure: Figure) -> None:
        ax = axes(figure, left=44, bottom=40)
        for one in points:
            ax.plot([one["step"]] * 2, [one["low"], one["high"]], color=ACCENT, linewidth=1.2)
        ax.plot([one["step"] for one in points], [one["accuracy"] for one in points], color=ACCENT, marker="o", markersize=4.6)
        accuracies_upwards(ax, along="update")

    label = "; ".join(f"after {one['step']:.0f} updates {100 * one['accuracy']:.1f}%" for one in points)
    caption = (
        "How often a probe on the frozen features is right, in percent, on rows that it has not learned from; lines are 95% intervals."
    )
    return drawn(build, name="probe", label=label, caption=caption, height=210)


def _accuracies(probe: Mapping[str, Any]) -> Table:
    rows = tuple(
        (Cell(int(one["step"])), Cell(one["accuracy"], f"{100 * one['accuracy']:.1f}"), Cell((one["low"], one["high"]), _between(one)))
        for one in probe["accuracies"]
    )
    return Table(("update", "accuracy, %", "95% interval"), rows, caption="The probe on the way", notes=(probe["told"],))


def _between(one: Mapping[str, float]) -> str:
    return f"{100 * one['low']:.1f} to {100 * one['high']:.1f}"


def _settings(record: Mapping[str, Any]) -> Table:
    """What the run was told and what it learned beside the backbone."""
    settings = record["settings"]
    shown = {
        "loss": record["loss"],
        "highest learning rate": record["lr"],
        "batch": settings["batch"],
        "batches an update": settings["groups"],
    }
    shown |= {"seed": settings["seed"], "processes": record["processes"], **record["learned"]}
    shown |= {f"digest of {one['name']}": f"{one['digest'][:12]} ({one['rows']:,} rows)" for one in record["data"]}
    rows = tuple((Cell(name), Cell(value, value if isinstance(value, str) else f"{value:g}")) for name, value in shown.items())
    return Table(("setting", "value"), rows, caption="Settings")
