"""Tasks whose rows are labelled with numbers or several classes at once: regression and multi-label learning."""

from __future__ import annotations

import numpy as np

from fewtune.data.examples import Column, Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError, unknown
from fewtune.tasks.task import Tasks


def target_tasks(space: RowSpace, column: str | None = None, rows: Integers | None = None) -> Tasks:
    """One task for each group of the row space (one for all rows where there are no groups), labelled by a float or multi-hot column.

    `column`: its name in every source, by default what each learns. Rows without any target, and rows of no group, are left out; only
    `rows` are taken, where given. A task has one slot, and its class id says nothing: an episode's classes are the places 0..L-1 of the
    L targets, so `ways` is the width of what a head predicts. Raises InputError where the columns are of classes or of different widths.
    """
    columns = [_column(source, column) for source in space.sources]
    shapes = {(one.kind, one.values.shape[1]) for one in columns}
    if len(shapes) > 1:
        raise InputError(
            f"expected targets of one kind and width in all data sets, found {', '.join(f'{k} [{n}]' for k, n in sorted(shapes))}."
        )
    values = np.concatenate([one.values for one in columns])
    known = ~np.isnan(values) if columns[0].kind == "float" else values >= 0
    usable = known.any(axis=1)
    if rows is not None:
        inside = np.zeros(len(space), dtype=bool)
        inside[rows] = True
        usable &= inside
    part = space.groups if space.group_names else np.zeros(len(space), dtype=np.int64)
    order = np.flatnonzero(usable & (part >= 0))
    if not len(order):
        raise InputError(f"{space.sources[0].name}: no row has a target: expected some.")
    order = order[np.argsort(part[order], kind="stable")]
    present, start, count = np.unique(part[order], return_index=True, return_counts=True)
    names = tuple(space.group_names[i] for i in present) if space.group_names else ("all",)
    T = len(present)
    return Tasks(order, start, count, np.zeros(T, dtype=np.int64), np.arange(T), np.arange(T + 1), names, values[order])


def _column(source: Examples, name: str | None) -> Column:
    if name is not None and name not in source.columns:
        raise unknown("label column", name, source.columns)
    column = source.column if name is None else source.columns[name]
    if column.kind == "class":
        raise InputError(f"{source.name}: label column {name or source.target!r} holds classes: expected float or multi-hot targets.")
    return column
