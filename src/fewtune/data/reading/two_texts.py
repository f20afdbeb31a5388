"""Texts of two fields: from two columns of a table, from pairs given in Python, and from what people type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewtune.data.examples import Examples
from fewtune.data.fields import TYPED, joined
from fewtune.data.items import Texts
from fewtune.data.reading.labels import decoded, missing
from fewtune.data.reading.table import Table
from fewtune.data.subset import source_of
from fewtune.errors import InputError
from fewtune.words import option

NAMES = ("1", "2")  # of the fields of pairs that were given without names


def columns_in(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The input columns that were asked for; none where that is left open. Raises InputError for more than two, and for one given twice."""
    columns = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    if len(columns) > 2:
        raise InputError(f"expected one input column, or two of texts, found {len(columns)}: {', '.join(columns)}.")
    if len(set(columns)) < len(columns):
        raise InputError(f"the input column {columns[0]!r} is given twice: name two different columns.")
    return columns


def texts_in_columns(table: Table, columns: Sequence[str]) -> Texts:
    """The texts of two columns, row by row. Raises InputError for a column that holds no texts."""
    fields = []
    for column in columns:
        values = table.columns[column]
        if isinstance(values, np.ndarray) and values.dtype.kind not in "OUS":
            raise InputError(f"{table.name}: two input columns hold texts, but {column!r} holds numbers: give them with --numbers.")
        if odd := next((v for v in values if not missing(v) and not isinstance(v, str | bytes | int | float)), None):
            raise InputError(f"{table.name}: two input columns hold texts, but {column!r} holds a {type(odd).__name__}.")
        fields.append(["" if missing(v) else decoded(v, table.where(r)) if isinstance(v, bytes) else str(v) for r, v in enumerate(values)])
    rows = list(zip(*fields, strict=True))
    problems = {
        number: f"the field {columns[[bool(field.strip()) for field in row].index(False)]!r} is empty"
        for number, row in enumerate(rows)
        if not all(field.strip() for field in row) and any(field.strip() for field in row)
    }
    return Texts([joined(row) for row in rows], problems=problems, fields=tuple(columns))


def pairs_given(x: Any) -> Texts | None:
    """Pairs of texts given in Python, a list of (first, second) or an array [N, 2] of strings; None for anything else."""
    rows = x.tolist() if isinstance(x, np.ndarray) and x.dtype.kind in "OU" and x.ndim == 2 else x
    if not isinstance(rows, list | tuple) or not rows or not all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        return None
    if not all(isinstance(field, str) for row in rows for field in row):
        return None
    empty = {n: "a field is empty" for n, row in enumerate(rows) if sum(bool(field.strip()) for field in row) == 1}
    return Texts([joined(row) for row in rows], problems=empty, fields=NAMES)


def typed(text: str, fields: Sequence[str]) -> str:
    """A text of two fields from what somebody typed, `first ||| second`. Raises InputError where the mark is missing."""
    first, mark, second = text.partition(TYPED)
    if not mark:
        raise InputError(
            f"this model reads two texts, {' and '.join(fields)}: give a table with both columns, or 'FIRST {TYPED} SECOND'; found "
            f"{text[:40]!r}."
        )
    return joined([first.strip(), second.strip()])


def fields_named(examples: Examples) -> tuple[str, ...]:
    """The names of the fields of a collection's texts; none where they are single texts, or no texts."""
    items = source_of(examples.items, 0)[0] if len(examples) else examples.items
    return items.fields if isinstance(items, Texts) else ()


def check_fields(examples: Examples, fields: Sequence[str]) -> None:
    """Raise InputError where a model reads two texts and the collection has one, or the other way round."""
    given = fields_named(examples)
    if fields and not given:
        raise InputError(
            f"this model reads two texts, {' and '.join(fields)}, but {examples.name} has one in each row: name both columns with "
            f"{option('--input FIRST SECOND', 'input=(FIRST, SECOND)')}."
        )
    if given and not fields:
        raise InputError(
            f"{examples.name} has two texts in each row, {' and '.join(given)}, but this model reads one: name one column with "
            f"{option('--input NAME')}."
        )
