"""Label columns as tasks: several columns of one table, each learned from the rows that have a label in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewtune.data.examples import Column, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError, unknown
from fewtune.tasks.task import KINDS, Outputs, Tasks

LEAST = 1e-100  # numbers that differ by less are the same: their squares would be 0

Floats = np.ndarray[Any, np.dtype[np.float64]]


def label_tasks(
    space: RowSpace, columns: Sequence[str], rows: Integers | None = None, scales: Sequence[tuple[float, float]] | None = None
) -> Tasks:
    """One task for each label column: classes, one number, or several labels at once.

    Task t has the rows with a label in `columns[t]` (only those among `rows`, where given): a row without a label is as if it were not
    there for this task. A column of numbers is learned as (value - center) / spread by `scales[t]` = (center, spread), by default by the
    mean and standard deviation of the task's rows, so that all tasks are on one scale; scales of other columns are not looked at.

    `Tasks.targets` [., L] are floats, NaN past a task's outputs: one-hot classes, the scaled number, or labels of 0 and 1.
    Raises InputError for a column that is missing, named twice, has no label in these rows, or several numbers a row.
    """
    if len(space.sources) != 1:
        raise InputError(f"label columns are read from one table, found {len(space.sources)} data sets.")
    source = space.sources[0]
    if twice := sorted({c for c in columns if list(columns).count(c) > 1}):
        raise InputError(f"label column {twice[0]!r} is named twice: name each column once.")
    if missing := [c for c in columns if c not in source.columns]:
        raise unknown("label column", missing[0], source.columns)
    chosen = [source.columns[name] for name in columns]
    counts = np.array([outputs_of(column) for column in chosen])
    wanted = np.arange(len(source)) if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
    orders, tables = [], []
    for place, (name, column) in enumerate(zip(columns, chosen, strict=True)):
        mine = wanted[column.known[wanted]]
        check_known(column, mine, f"{source.name}: label column {name!r}")
        table = np.full((len(mine), int(counts.max())), np.nan)
        table[:, : counts[place]] = targets_of_column(column, mine, None if scales is None else scales[place])
        orders.append(mine)
        tables.append(table)
    sizes, places = np.array([len(order) for order in orders]), np.arange(len(chosen))
    ends = np.cumsum(counts)
    outputs = Outputs(np.array([KINDS.index(c.kind) for c in chosen]), ends - counts, counts)
    bounds = np.arange(len(chosen) + 1)
    start = np.cumsum(sizes) - sizes
    return Tasks(
        np.concatenate(orders), start, sizes, ends - counts, places, bounds, tuple(columns), np.concatenate(tables), None, False, outputs
    )


def outputs_of(column: Column) -> int:
    """How many numbers a model gives for a column: one a class or label, one for numbers."""
    return len(column.names) if column.kind != "float" else column.values.shape[1]


def scale_of(column: Column, rows: Integers) -> tuple[float, float]:
    """(mean, standard deviation) of a column of numbers over the labelled ones of some rows; (0, 1) of other columns and of a constant."""
    if column.kind != "float":
        return 0.0, 1.0
    values = column.values[rows][column.known[rows]]
    spread = float(values.std()) if len(values) else 0.0
    return (float(values.mean()), spread) if spread > 0 else (0.0, 1.0)


def targets_of_column(column: Column, rows: Integers, scale: tuple[float, float] | None = None) -> Floats:
    """What the labelled rows of a column are to be answered with, [rows, outputs]; unknown labels among several are NaN."""
    values = column.values[rows]
    if column.kind == "class":
        hot: Floats = np.eye(len(column.names))[values]
        return hot
    if column.kind == "multi":
        return np.where(values < 0, np.nan, values.astype(np.float64))
    center, spread = scale_of(column, rows) if scale is None else scale
    scaled: Floats = (values - center) / spread
    return scaled


def check_known(column: Column, rows: Integers, what: str) -> None:
    """Raises InputError where labelled `rows` are none, or hold several numbers each."""
    if not len(rows):
        raise InputError(f"{what} has no label in any row that is used: fill it, or leave the column out.")
    if column.kind == "float" and column.values.shape[1] != 1:
        raise InputError(f"{what} holds {column.values.shape[1]} numbers a row: expected one.")


def check_varies(column: Column, rows: Integers, what: str) -> None:
    """Raises InputError where the labels of `rows` say nothing to learn from: there are none, or all are the same."""
    check_known(column, rows, what)
    values = column.values[rows]
    labels = [one[one >= 0] for one in values.T] if column.kind == "multi" else [values]
    if all(not len(one) or np.ptp(one) < LEAST for one in labels):
        raise InputError(f"{what} has the same label in all {len(rows)} labelled rows: there is nothing to learn, leave the column out.")
