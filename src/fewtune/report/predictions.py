"""Predictions as a table for people, JSON or CSV for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from fewtune.data.reading.inputs import Given
from fewtune.report.answer_files import csv_text_of
from fewtune.report.answers import answer_table, because_of, own_records
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.words import counted, one_line

if TYPE_CHECKING:
    from fewtune.models.extras import Near
    from fewtune.models.predict import Prediction

SECOND_SHOWN = 0.05
_LABELS_SHOWN = 12
_LONGEST_TEXT = 60  # letters of a labelled example


def render_predictions(
    predictions: Sequence[Prediction], class_names: Sequence[str], format: Literal["table", "json", "csv"], given: Given
) -> str:
    """`json`: a list of {input, label, probability, scores}; with `row`, the own columns, for a row of a table, with `problem`, the reason,
    for a row that cannot be read, and with `unknown`, `set` and `because` where they were asked for. `csv`: the tables' own columns, then
    input, label, probability and one column a class.

    A row the model abstains from has label null (an empty cell); so has a row that cannot be read, with no scores. In CSV, names that a
    spreadsheet would run as a formula begin with a quote (see `csv_text`); JSON holds every name as it is.
    """
    if format == "json":
        own = own_records(given)
        return json_text([_record(p, own.get(row)) for row, p in enumerate(predictions)])
    if format == "csv":
        return csv_text_of(answer_table(given, {"": predictions}, scores=class_names, fixed=True))
    return to_terminal(_for_people(predictions))


def summary(predictions: Sequence[Prediction]) -> str:
    """How many answers each label has, the most frequent first, for answers that are written elsewhere."""
    counts = Counter(p.label for p in predictions if p.label is not None)
    shown = [f"{number:,} {one_line(name)}" for name, number in counts.most_common(_LABELS_SHOWN)]
    more = [f"{len(counts) - len(shown)} more labels"] if len(counts) > len(shown) else []
    why = Counter(_why(p).strip("()") for p in predictions if p.label is None)
    without = [f"{number:,} without a label ({reason})" for reason, number in sorted(why.items())]
    return f"{counted(len(predictions), 'answer')}: {', '.join([*shown, *more, *without])}."


def _for_people(predictions: Sequence[Prediction]) -> Table:
    rows = [[Cell(p.input), Cell(p.label or _why(p)), Cell(p.probability, _percent(p)), Cell(_second(p))] for p in predictions]
    columns = ["input", "label", "probability %", "or else"]
    if any(p.likely is not None for p in predictions):
        columns.append("one of")
        rows = [[*row, Cell(", ".join(p.likely or ()))] for row, p in zip(rows, predictions, strict=True)]
    if any(p.because for p in predictions):
        columns.append("because it is like")
        rows = [[*row, Cell("; ".join(_near(n) for n in p.because))] for row, p in zip(rows, predictions, strict=True)]
    return Table(columns=tuple(columns), rows=tuple(map(tuple, rows)))


def _near(n: Near) -> str:
    shown = n.text if len(n.text) <= _LONGEST_TEXT else n.text[: _LONGEST_TEXT - 1] + "…"
    return f"{shown or n.name} ({n.label}, {n.similarity:.2f})"


def _record(p: Prediction, own: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "input": p.input,
        "label": p.label,
        "probability": p.probability,
        "scores": p.scores,
        **({"problem": p.problem} if p.problem else {}),
        **({"unknown": True} if p.unknown else {}),
        **({"set": list(p.likely)} if p.likely is not None else {}),
        **({"because": because_of(p)} if p.because else {}),
        **({"row": own} if own is not None else {}),
    }


def _why(p: Prediction) -> str:
    return "(unknown)" if p.unknown else "(abstains)" if p.scores else "(cannot be read)"


def _percent(p: Prediction) -> str:
    return f"{100 * p.probability:.0f}" if p.scores else ""


def _second(p: Prediction) -> str:
    """The classes after the first whose probability is not negligible."""
    ranked = sorted(p.scores.items(), key=lambda item: -item[1])[1:3]
    return ", ".join(f"{name} {100 * score:.0f}%" for name, score in ranked if score >= SECOND_SHOWN)
