"""Vectors with label columns, as tasks to learn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, Examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.learning.ground import Ground
from fewtune.tasks.label_columns import label_tasks
from fewtune.tasks.task import Tasks


def vectors_with(inputs: np.ndarray, numbers: Mapping[str, np.ndarray]) -> tuple[Ground, Tasks]:
    """Inputs [N, D] and columns of numbers [N] (NaN missing): what to train on, and a task for each column."""
    count = len(inputs)
    none = np.full(count, -1)
    columns = {name: Column("float", values[:, None]) for name, values in numbers.items()}
    items = Vectors(inputs.astype(np.float32))
    names = [f"row {row}" for row in range(count)]
    examples = Examples("vectors", items, columns, next(iter(numbers)), names, none[:0], none, none)
    space = RowSpace([examples])
    return Ground(load_backbone("precomputed"), space), label_tasks(space, list(numbers))
