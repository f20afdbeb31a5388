"""Sources of vectors for the tests of task selection, and the evidence of a target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import Evidence
from fewtune.tasks.task import Tasks, source_tasks

WIDTH = 12


def source(name: str, classes: int, seed: int, *, rows: int = 8, height: np.ndarray[Any, Any] | None = None) -> Examples:
    """Vectors of `classes` classes around a middle of their own."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows)
    middle, means = 1 + 0.5 * random.normal(size=WIDTH), random.normal(size=(classes, WIDTH))
    vectors = middle + means[labels] + 0.7 * random.normal(size=(len(labels), WIDTH))
    extra = {} if height is None else {"height": Column("float", height)}
    names = [f"c{i}" for i in range(classes)]
    return make_examples(Vectors(vectors.astype(np.float32)), labels, name=name, class_names=names).with_columns(extra)


def ground(*, ways: int = 4, count: int = 12) -> tuple[Tasks, Evidence]:
    """Candidates of three sources, and a target of four classes like those of the first."""
    space = RowSpace([source("a", 9, 0), source("b", 7, 1), source("c", 2, 2)])
    target = source("target", 4, 0, rows=3)
    return candidate_tasks(source_tasks(space), ways, count, key(0)), evidence_of(space, target)


def evidence_of(space: RowSpace, target: Examples, scale: float = 1.0) -> Evidence:
    """Frozen features are the vectors themselves, times `scale`."""
    features = table(space) * scale
    return Evidence(lambda rows: features[torch.from_numpy(rows)], table(RowSpace([target])) * scale, torch.from_numpy(target.labels))


def table(space: RowSpace) -> torch.Tensor:
    return torch.from_numpy(np.stack([space.fetch(i) for i in range(len(space))]))
