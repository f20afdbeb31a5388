"""Answers to several label columns: a table for people, CSV and JSON for programs, and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from fewtune.data.reading.inputs import Given
from fewtune.models.joint.predict import answer_columns, answer_record
from fewtune.report.answer_files import csv_text_of
from fewtune.report.answers import AnswerTable, as_given, free_name, own_columns, own_records, separated
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.words import rounded

if TYPE_CHECKING:
    from fewtune.models.joint.predict import Answer, JointAnswers
    from fewtune.models.joint.suggest import JointSuggested

_LONGEST = 50  # letters of an input on a terminal


def joint_answer_table(given: Given, found: JointAnswers) -> AnswerTable:
    """The tables' own columns, then those of the answers (see `answer_columns`), after `input` where the rows are not of one table."""
    own, remarks = own_columns(given)
    said: dict[str, Sequence[Any]] = {}
    if not given.is_one_table:
        said["input" if "input" not in own else free_name("predicted", "input", own)] = list(found.rows)
    said |= answer_columns(found, (*own, *said))
    return AnswerTable((*own, *said), (*own.values(), *said.values()), len(own), separated(given), tuple(remarks), as_given(given))


def render_joint_answers(found: JointAnswers, format: Literal["table", "json", "csv"], given: Given) -> str:
    """`json`: a list of {input, answers: {column: {value, probability, low, high, scores}}, row, problem}; `csv`: `joint_answer_table`."""
    if format == "json":
        own = own_records(given)
        return json_text([_record(found, row, own.get(row)) for row in range(len(found))])
    if format == "csv":
        return csv_text_of(joint_answer_table(given, found))
    columns = ("input", *found.answers)
    rows = tuple((Cell(_short(name)), *_cells(found, row)) for row, name in enumerate(found.rows))
    return to_terminal(Table(columns=columns, rows=rows, keys=tuple(str(place) for place in range(len(columns)))))


def render_joint_suggestions(made: JointSuggested, format: Literal["table", "json", "csv"], given: Given) -> str:
    """Rows to label next with what the model says of them now, and how `unsure` it is (0 to 1; null where only numbers are answered).

    `json`: {suggestions: [{input, unsure, answers}]}; `csv`: input, unsure and the columns of `answer_columns`.
    """
    found = made.answers
    if format == "json":
        listed = [{"unsure": unsure, **_record(found, row, None)} for row, unsure in enumerate(made.unsure)]
        return json_text({"suggestions": listed})
    if format == "csv":
        said: dict[str, Sequence[Any]] = {
            "input": list(found.rows),
            "unsure": list(made.unsure),
            **answer_columns(found, ("input", "unsure")),
        }
        return csv_text_of(AnswerTable(tuple(said), tuple(said.values()), 0, separated(given), (), as_given(given)))
    columns = ("input", "unsure %", *found.answers)
    rows = tuple(
        (Cell(_short(name)), Cell(unsure, "" if unsure is None else f"{100 * unsure:.0f}"), *_cells(found, row))
        for row, (name, unsure) in enumerate(zip(found.rows, made.unsure, strict=True))
    )
    return to_terminal(Table(columns=columns, rows=rows, keys=tuple(str(place) for place in range(len(columns)))))


def _cells(found: JointAnswers, row: int) -> list[Cell]:
    return [Cell(_in_words(answers[row])) for answers in found.answers.values()]


def _in_words(answer: Answer) -> str:
    """One answer for people: `PG (71%)`, `6.4 (4.8 to 8)`, `drama, romance`."""
    if answer.value is None:
        return "(cannot be read)"
    if isinstance(answer.value, tuple):
        return ", ".join(answer.value) or "(none)"
    if isinstance(answer.value, str):
        return f"{answer.value} ({100 * (answer.probability or 0.0):.0f}%)"
    bounds = "" if answer.low is None or answer.high is None else f" ({rounded(answer.low, 4)} to {rounded(answer.high, 4)})"
    return f"{rounded(answer.value, 4)}{bounds}"


def _record(found: JointAnswers, row: int, own: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "input": found.rows[row],
        "answers": {name: answer_record(answers[row]) for name, answers in found.answers.items()},
        **({"problem": found.problems[row]} if row in found.problems else {}),
        **({"row": own} if own is not None else {}),
    }


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
