"""The rows of a table with several label columns: checked, with features, and which of them are learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features
from fewtune.data.examples import TEST, Column, Integers
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError
from fewtune.models.joint.scaling import Floats, Scaling, measured_scaling
from fewtune.tasks.label_columns import check_varies, outputs_of, scale_of, targets_of_column

LEAST_ROWS = 4  # labelled rows without which nothing can be held out


@final
@dataclass(frozen=True, eq=False)
class JointTask:
    """One label column: its name, `column`, how many `outputs` a model gives for it, and the `scale` (center, spread) of its numbers.

    `train`, `test`: the rows with a label in it that are learned from, and that are measured on once.
    """

    name: str
    column: Column
    scale: tuple[float, float]
    train: Integers
    test: Integers

    @property
    def outputs(self) -> int:
        return outputs_of(self.column)

    def targets(self, rows: Integers) -> Floats:
        """What labelled rows are to be answered with, [rows, outputs] (see `targets_of_column`)."""
        return targets_of_column(self.column, rows, self.scale)

    def column_targets(self, count: int) -> Floats:
        """The same for the rows to learn from among `count` rows, [count, outputs]; NaN in the others."""
        found = np.full((count, self.outputs), np.nan)
        found[self.train] = self.targets(self.train)
        return found


@final
@dataclass(frozen=True, eq=False)
class JointRows:
    """`features` [N, D]: mean 0 and standard deviation 1 over the rows to learn from. `train`, `test`: rows with a label in some column.

    `left_out`: (row name, reason) of rows that cannot be read. `backbone`: None where numbers are the only input. `embedding` [N, W]: what
    the backbone makes of each row, before scaling. `copied`: test rows that are not measured on because they have the input of a row that
    is learned from.
    """

    table: LabelTable
    backbone: Backbone | None
    embedding: Tensor
    scaling: Scaling
    features: Tensor
    tasks: tuple[JointTask, ...]
    train: Integers
    test: Integers
    left_out: tuple[tuple[str, str], ...]
    copied: int = 0

    def __len__(self) -> int:
        return len(self.table.examples)

    @property
    def outputs(self) -> tuple[int, ...]:
        return tuple(task.outputs for task in self.tasks)

    @cached_property
    def copies(self) -> Integers:
        """For each row the first row with the same features [N]. Where numbers are the only input and fewer than half of the rows differ, a
        row is its own: the numbers have few values, and new rows will too."""
        first: dict[bytes, int] = {}
        found = np.array([first.setdefault(features.tobytes(), row) for row, features in enumerate(self.features.numpy())])
        return np.arange(len(found)) if self.backbone is None and 2 * len(first) < len(found) else found

    def learned_on(self, train: Integers) -> JointRows:
        """The same rows where those of `train` alone are learned from, and mean and spread of features and numbers measured on them."""
        scaling = measured_scaling(self.embedding, self.table.numbers, train)
        mine = [np.intersect1d(task.train, train) for task in self.tasks]
        tasks = tuple(replace(task, train=own, scale=scale_of(task.column, own)) for task, own in zip(self.tasks, mine, strict=True))
        return replace(self, scaling=scaling, features=scaling(self.embedding, self.table.numbers), tasks=tasks, train=train)


def joint_rows(
    table: LabelTable, backbone: Backbone | None, *, cache: Path | None = None, skip_bad: bool = False, quiet: bool = True
) -> JointRows:
    """Features of every row, and its tasks. Rows of a split called test are measured on once and not learned from.

    Raises InputError for rows that cannot be read (unless `skip_bad`), and for a label column with nothing to learn in it.
    """
    examples, names = table.examples, tuple(table.examples.columns)
    embedding, bad = torch.zeros(len(examples), 0), dict[int, str]()
    if backbone is not None:
        _, embedding, bad = readable_features(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
    readable = np.ones(len(examples), dtype=bool)
    readable[list(bad)] = False
    known = {name: examples.columns[name].known & readable for name in names}
    held = examples.row_split == TEST
    tasks = tuple(_task(examples.name, name, examples.columns[name], known[name], held) for name in names)
    labelled = np.any(list(known.values()), axis=0)
    train = np.flatnonzero(labelled & ~held)
    scaling = measured_scaling(embedding, table.numbers, train)
    rows = JointRows(
        table=table,
        backbone=backbone,
        embedding=embedding,
        scaling=scaling,
        features=scaling(embedding, table.numbers),
        tasks=tasks,
        train=train,
        test=np.flatnonzero(labelled & held),
        left_out=tuple((examples.row_names[row], reason) for row, reason in sorted(bad.items())),
    )
    return _without_copies(rows)


def _without_copies(rows: JointRows) -> JointRows:
    """The same rows, measured on those test rows alone that are no copies of rows that are learned from."""
    test = rows.test[~np.isin(rows.copies[rows.test], rows.copies[rows.train])]
    tasks = tuple(replace(task, test=np.intersect1d(task.test, test)) for task in rows.tasks)
    return replace(rows, tasks=tasks, test=test, copied=len(rows.test) - len(test))


def _task(data: str, name: str, column: Column, known: Any, held: Any) -> JointTask:
    train = np.flatnonzero(known & ~held)
    check_varies(column, train, f"{data}: label column {name!r}")
    if len(train) < LEAST_ROWS:
        raise InputError(f"{data}: label column {name!r} has {len(train)} labelled rows: expected {LEAST_ROWS} or more.")
    return JointTask(name, column, scale_of(column, train), train, np.flatnonzero(known & held))
