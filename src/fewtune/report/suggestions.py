"""Rows to label next, as a table for people, JSON or CSV for programs."""

from __future__ import annotations

from typing import Literal

from fewtune.data.examples import Examples
from fewtune.data.fields import shown
from fewtune.models.suggest import Suggested
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, render, to_records

_LONGEST = 80  # letters of a text


def render_suggestions(made: Suggested, examples: Examples, format: Literal["table", "json", "csv"]) -> str:
    """`json`: an object with `suggestions`, a list of {input, answer, probability, margin}, and `expected_accuracy`, {now, then} or null.

    `csv`: the same columns. Texts are shown as they begin.
    """
    texts = examples.modality == "text"
    columns = ("input", *(("text",) if texts else ()), "answer", "probability %", "margin %")
    rows = [
        (
            Cell(s.name),
            *((Cell(text := shown(str(examples.items.fetch(s.row))), _short(text)),) if texts else ()),
            Cell(s.answer),
            Cell(s.probability, f"{100 * s.probability:.0f}"),
            Cell(s.margin, f"{100 * s.margin:.0f}"),
        )
        for s in made.rows
    ]
    keys = ("input", *(("text",) if texts else ()), "answer", "probability", "margin")
    table = Table(columns=columns, rows=tuple(rows), keys=keys)
    if format != "json":
        return render(table, format)
    expected = None if made.expected is None else {"now": made.expected[0], "then": made.expected[1]}
    return json_text({"suggestions": to_records(table), "expected_accuracy": expected, "sentences": list(made.sentences)})


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
