"""Predictions as a table for people, JSON or CSV for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fewtune.models.predict import Prediction
from fewtune.report.encoded import csv_lines, json_text
from fewtune.report.tables import Cell, Table, to_terminal

SECOND_SHOWN = 0.05


def render_predictions(predictions: Sequence[Prediction], class_names: Sequence[str], format: Literal["table", "json", "csv"]) -> str:
    """`json`: a list of {input, label, probability, scores}. `csv`: input, label, probability and one column a class.

    A row the model abstains from has label null (an empty cell); so has a row that cannot be read, with no scores. In CSV, names that a
    spreadsheet would run as a formula begin with a quote (see `csv_text`); JSON holds every name as it is.
    """
    if format == "json":
        listed = [{"input": p.input, "label": p.label, "probability": p.probability, "scores": p.scores} for p in predictions]
        return json_text(listed)
    if format == "csv":
        return _csv(predictions, class_names)
    rows = tuple((Cell(p.input), Cell(p.label or _why(p)), Cell(p.probability, _percent(p)), Cell(_second(p))) for p in predictions)
    return to_terminal(Table(columns=("input", "label", "probability %", "or else"), rows=rows))


def _csv(predictions: Sequence[Prediction], class_names: Sequence[str]) -> str:
    rows: list[list[str]] = [["input", "label", "probability", *class_names]]
    for p in predictions:
        scores = [f"{p.scores[c]:.6g}" if c in p.scores else "" for c in class_names]
        rows.append([p.input, p.label or "", f"{p.probability:.6g}" if p.scores else "", *scores])
    return csv_lines(rows)


def _why(p: Prediction) -> str:
    return "(abstains)" if p.scores else "(cannot be read)"


def _percent(p: Prediction) -> str:
    return f"{100 * p.probability:.0f}" if p.scores else ""


def _second(p: Prediction) -> str:
    """The classes behind the first, where they are not negligible."""
    ranked = sorted(p.scores.items(), key=lambda item: -item[1])[1:3]
    return ", ".join(f"{name} {100 * score:.0f}%" for name, score in ranked if score >= SECOND_SHOWN)
