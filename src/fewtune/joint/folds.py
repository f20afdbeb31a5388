"""Rows in folds: each is answered once by models that have not seen it."""

from __future__ import annotations

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.joint.rows import JointRows
from fewtune.keys import Key

MANY = 2_000  # with more rows than this, fewer folds are enough


def fold_of_rows(rows: JointRows, folds: int, key: Key) -> Integers:
    """A fold 0..folds-1 for every row to learn from [N], -1 for the others.

    Rows are dealt out label by label, the rarest first, so that each fold gets its share of every class and of the rows of each task. Rows
    with the same input (and the same numbers) are in one fold: a model that learned from a copy has seen the row (see `JointRows.copies`).
    The rows of a task are in two folds or more, if there are two different ones.
    """
    found = np.full(len(rows), -1)
    random, begin = key.generator(), 0
    copies = rows.copies
    for group in _rarest(rows):
        firsts = random.permutation(np.unique(copies[group]))
        new = firsts[found[firsts] < 0]
        found[new] = (begin + np.arange(len(new))) % folds
        begin += len(new)
    for task in rows.tasks:
        firsts = np.unique(copies[task.train])
        if len(firsts) > 1 and len(np.unique(found[firsts])) == 1:
            found[firsts[0]] = (found[firsts[0]] + 1) % folds
    found[rows.train] = found[copies[rows.train]]
    return np.where(np.isin(np.arange(len(rows)), rows.train), found, -1)


def check_differ(rows: JointRows) -> None:
    """Raise InputError for a label column whose rows all have the same input, so that none can be held out."""
    copies = rows.copies
    for task in rows.tasks:
        if len(np.unique(copies[task.train])) < 2:
            raise InputError(f"every row with a label in {task.name!r} has the same input: there is nothing to learn it from.")


def _rarest(rows: JointRows) -> list[Integers]:
    """The rows to learn from by their rarest label, the rarest first; each row once."""
    groups: list[Integers] = []
    for task in rows.tasks:
        values = task.column.values[task.train]
        if task.column.kind == "class":
            groups += [task.train[values == label] for label in np.unique(values)]
        elif task.column.kind == "multi":
            groups += [task.train[values[:, label] == 1] for label in range(values.shape[1])]
        else:
            order = np.argsort(values[:, 0], kind="stable")
            groups += np.array_split(task.train[order], min(5, len(order)))
    taken = np.zeros(len(rows), dtype=bool)
    apart = []
    for group in sorted((g for g in groups if len(g)), key=len):
        mine = group[~taken[group]]
        taken[mine] = True
        apart.append(mine)
    apart.append(rows.train[~taken[rows.train]])
    return [group for group in apart if len(group)]
