"""Answers as a table: what was given, in its own columns, and beside each row what the model says."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fewtune.data.reading.inputs import Given
from fewtune.data.reading.table import Separated

if TYPE_CHECKING:
    from fewtune.models.predict import Prediction

COMMAS = Separated(",", mark=False)
_LEFT_OUT = object()  # the plain value of what no table of text can hold


@final
@dataclass(frozen=True, eq=False)
class AnswerTable:
    """Columns of equal length under `names`. The first `own` are the columns of what was given; `exact`: their texts come from separated
    values, and go back as they came. `remarks`: sentences on what is missing or has another name. `separated`: how a CSV file of them is
    written, as the one that was given."""

    names: tuple[str, ...]
    columns: tuple[Sequence[Any], ...]
    own: int
    exact: bool
    remarks: tuple[str, ...] = ()
    separated: Separated = COMMAS

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0


def answer_table(
    given: Given, answers: Mapping[str, Sequence[Prediction]], *, scores: Sequence[str] = (), fixed: bool = False
) -> AnswerTable:
    """The tables' own columns, then the answers: `label` and `probability`, and `problem` where a row cannot be read.

    `answers`: of each task by its name, one answer a row. The columns of a task with a name are `name` and `name probability`; "" is the
    name of the only task of a model. `scores`: classes that get a column of probabilities too. Where the rows are not those of one table,
    `input` says where each is from. A name that the tables have already is theirs, and the answer's column gets another one. `fixed`: for
    programs that know the names; there is always an `input`, and of two columns with one name the table's gets another one.
    """
    own, remarks = own_columns(given)
    said: dict[str, Sequence[Any]] = {}
    if fixed or not given.is_one_table:
        said["input"] = list(given.examples.row_names)
    for task, predictions in answers.items():
        said |= {f"{task} {name}".strip() if name != "label" or not task else task: v for name, v in _said(predictions, scores).items()}
    if fixed:
        own = {free_name("own", name, {**said, **own}) if name in said else name: values for name, values in own.items()}
    else:
        free = {name: free_name("predicted", name, {**own, **said}) if name in own else name for name in said}
        if taken := [f"{name} is called {other}" for name, other in free.items() if other != name]:
            remarks.append(f"The table has columns with these names already, so the answer's {', '.join(taken)}.")
        said = {free[name]: values for name, values in said.items()}
    return AnswerTable((*own, *said), (*own.values(), *said.values()), len(own), separated(given), tuple(remarks), as_given(given))


def _said(predictions: Sequence[Prediction], scores: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of one task's answers. What only some answers can have is there if one has it."""
    found: dict[str, list[Any]] = {
        "label": [p.label for p in predictions],
        "probability": [p.probability if p.scores else None for p in predictions],
    }
    if any(p.problem for p in predictions):
        found["problem"] = [p.problem or None for p in predictions]
    if any(p.unknown for p in predictions):
        found["unknown"] = [p.unknown for p in predictions]
    if any(p.likely is not None for p in predictions):
        found["set"] = [None if p.likely is None else list(p.likely) for p in predictions]
    if any(p.because for p in predictions):
        found["because"] = [because_of(p) for p in predictions]
    for name in scores:  # a class may be called as a column is
        found[name if name not in found else free_name("class", name, found)] = [p.scores.get(name) for p in predictions]
    return found


def own_columns(given: Given) -> tuple[dict[str, Sequence[Any]], list[str]]:
    """The tables' own columns of plain values, and what is missing of them, in sentences."""
    found, remarks = given.columns()
    columns: dict[str, Sequence[Any]] = {}
    for name, values in found.items():
        plain = [as_plain(value) for value in values]
        if any(value is _LEFT_OUT for value in plain):
            remarks.append(f"Column {name} is not copied: it holds bytes, which a table of text cannot hold.")
        else:
            columns[name] = plain
    return columns, remarks


def own_records(given: Given) -> dict[int, dict[str, Any]]:
    """The own columns of every row that comes from a table, by its number."""
    columns, _ = own_columns(given)
    rows = (row for one in given.tables for row in range(one.start, one.start + one.table.count))
    return {row: {name: values[row] for name, values in columns.items()} for row in rows}


def because_of(p: Prediction) -> list[dict[str, Any]] | None:
    """The labelled examples that are most like a row, as plain values."""
    if not p.because:
        return None
    return [{"name": n.name, "label": n.label, "similarity": n.similarity, **({"text": n.text} if n.text else {})} for n in p.because]


def separated(given: Given) -> bool:
    return all(one.path.suffix.lower() in (".csv", ".tsv", ".tab") for one in given.tables)


def as_given(given: Given) -> Separated:
    """How the CSV files that were given are written; with commas where they differ or there are none."""
    found = {one.table.separated for one in given.tables if one.path.suffix.lower() == ".csv"}
    (only,) = found if len(found) == 1 else (None,)
    return only or COMMAS


def free_name(word: str, name: str, taken: Mapping[str, Any]) -> str:
    """A name that no column has yet: with a word before it, and with a number after it if that name is used too."""
    tries = (f"{word} {name}{f' {number}' if number > 1 else ''}" for number in range(1, len(taken) + 2))
    return next(one for one in tries if one not in taken)


def as_plain(value: Any) -> Any:
    """A value as text, number, truth, list, mapping or None. NaN is None; dates are texts as in ISO 8601; what holds bytes is left out."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        listed = [as_plain(one) for one in value]
        return _LEFT_OUT if any(one is _LEFT_OUT for one in listed) else listed
    if isinstance(value, dict):
        mapped = {str(key): as_plain(one) for key, one in value.items()}
        return _LEFT_OUT if any(one is _LEFT_OUT for one in mapped.values()) else mapped
    return _LEFT_OUT if isinstance(value, bytes | bytearray | memoryview) else str(value)


def as_cell(value: Any) -> str | int | float | bool | None:
    """A plain value as one cell: lists and mappings are JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
