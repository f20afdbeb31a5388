"""Accuracy on new classes against the number of tasks M, of rows m and of shots: what the theory of multitask finetuning says, on any data.

A backbone is finetuned on M tasks of m rows a class by prototypes, then answers episodes of new classes with k shots. The number of steps
and of rows a step is the same everywhere; only how many different tasks and rows there are differs. The theory says that accuracy grows
with M, with M m and with k; at a fixed total M m more tasks of fewer rows are weighed against fewer tasks of more rows.
Reference: Xu, Shi, Wei, Dai, Liang, Li, "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024 (figure 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

import numpy as np
import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import Key, check_seeds, key
from fewtune.learning.declared import begin
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.recipes.episodic import multitask
from fewtune.statistics import Interval, paired_interval, t_interval
from fewtune.tasks.few_tasks import FewTasks
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the network is finetuned and asked. `ways`, `support`: of the tasks it is finetuned on; `steps` updates of `batch` episodes at
    the rate `lr`. New classes: episodes of `asked_ways` classes and `queries` queries of each, `episodes` of them for each seed."""

    ways: int = 2
    support: int = 1
    steps: int = 40
    batch: int = 8
    lr: float = 0.3
    asked_ways: int = 5
    queries: int = 5
    episodes: int = 100


@final
@dataclass(frozen=True, eq=False)
class Verified:
    """Mean accuracy on new classes by seed. `cells`: (M, m) in order; `shots` [K]; `after` [cells, K, seeds]; `before` [K, seeds]: by the
    same network before it was finetuned."""

    cells: tuple[tuple[int, int], ...]
    shots: tuple[int, ...]
    after: Floats
    before: Floats

    def accuracy(self, tasks: int, rows: int, shots: int) -> Interval:
        """95% over seeds."""
        return t_interval(self.after[self.cells.index((tasks, rows)), self.shots.index(shots)])

    def gain(self, one: tuple[int, int], other: tuple[int, int], shots: int) -> Interval:
        """The accuracy of one (M, m) minus another's, paired by seed; 95%."""
        at = self.shots.index(shots)
        return paired_interval(self.after[self.cells.index(one), at] - self.after[self.cells.index(other), at])

    def at_total(self, total: int) -> list[tuple[int, int]]:
        """The cells with M m = `total`, by rising M."""
        return sorted(cell for cell in self.cells if cell[0] * cell[1] == total)


def verify(
    source: Examples,
    target: Examples,
    backbone: Backbone,
    *,
    tasks: Sequence[int] = (4, 16, 64),
    rows: Sequence[int] = (2, 4, 16),
    shots: Sequence[int] = (1, 5),
    setting: Setting | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3),
) -> Verified:
    """Every M of `tasks` with every m of `rows`: the first m rows of each class of the source, drawn by seed, and M sets of its classes.

    Smaller numbers of rows and tasks are among larger ones of the same seed. All labelled classes of both collections are used: give
    collections of different classes. Raises InputError where classes have fewer rows than asked, or m leaves no query beside the support.
    """
    how = setting or Setting()
    check_seeds(seeds)
    if not tasks or not rows or not shots or min(rows) <= how.support:
        raise InputError(f"expected tasks, rows above the {how.support} of the support, and shots, found {list(rows)} rows.")
    least = int(np.bincount(source.labels[source.labels >= 0]).min())
    if max(rows) > least:
        raise InputError(f"{source.name} has a class of {least} rows: expected {max(rows)} or more, or smaller numbers of rows.")
    space = RowSpace([source, target])
    cells = tuple(product(sorted(tasks), sorted(rows)))
    after = np.zeros((len(cells), len(shots), len(seeds)))
    before = np.zeros((len(shots), len(seeds)))
    for place, seed in enumerate(seeds):
        run = _Run(space, backbone, len(source), how, key(seed, "verification"), tuple(shots))
        before[:, place] = run.accuracies(None)
        for number, cell in enumerate(cells):
            after[number, :, place] = run.accuracies(cell)
    return Verified(cells, tuple(shots), after, before)


@final
@dataclass(frozen=True, eq=False)
class _Run:
    """One seed: the source is the first `first` rows of the space."""

    space: RowSpace
    backbone: Backbone
    first: int
    how: Setting
    key: Key
    shots: tuple[int, ...]

    def accuracies(self, cell: tuple[int, int] | None) -> list[float]:
        """For each number of shots, after finetuning on M tasks of m rows; None: before it."""
        how, ground = self.how, Ground(self.backbone, self.space)
        method = multitask(ways=how.ways, shots=how.support, queries=1, steps=how.steps, batch=how.batch, lr=how.lr)
        (phase,) = method.phases
        assert isinstance(phase, Phase)
        if cell is None:
            weights = begin(ground, method.phases)
        else:
            few = FewTasks(ways=how.ways, shots=how.support, queries=min(cell[1] - how.support, 9), tasks=cell[0])
            own = class_rows(self.space, rows=self.rows(cell[1]))
            weights = train(ground, (replace(phase, sampler=few),), own, self.key).weights
        new = class_rows(self.space, rows=np.arange(self.first, len(self.space)))
        asked = [
            Sampled(ways=how.asked_ways, shots=k, queries=how.queries).draw(new, self.key.child("asked"), 0, how.episodes)
            for k in self.shots
        ]
        return [float(scores.accuracy.mean()) for scores in score_each(ground, method.learner, weights, asked)]

    def rows(self, count: int) -> Integers:
        """`count` rows of each class of the source."""
        labels = self.space.labels[: self.first]
        order = np.argsort(self.key.child("rows").uniform(np.arange(self.first, dtype=np.uint64)), kind="stable")
        return np.sort(np.concatenate([order[labels[order] == c][:count] for c in np.unique(labels[labels >= 0])]))


def latent_classes(
    seed: int = 0, *, classes: int = 130, new: int = 40, rows: int = 16, coordinates: int = 4, width: int = 24, half: float = 1.5
) -> tuple[Examples, Examples, Backbone]:
    """(source, target, an identity map) of the linear model with latent classes: x = Q [z; e], Q orthogonal, z = +-`half` in a few
    coordinates by class, normal noise of deviation 1 everywhere. A map that keeps the coordinates of z and drops the others answers new
    classes better.

    Reference: Xu et al., ICLR 2024, the linear data model.
    """
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(width, width)))[0]

    def made(name: str, count: int) -> Examples:
        z = np.zeros((count, width))
        z[:, :coordinates] = half * random.choice([-1.0, 1.0], size=(count, coordinates))
        x = (np.repeat(z, rows, axis=0) + random.normal(size=(count * rows, width))) @ rotation.T
        names = [f"{name} {c}" for c in range(count)]
        return make_examples(Vectors(x.astype(np.float32)), np.repeat(np.arange(count), rows), name=name, class_names=names)

    network = nn.Linear(width, width, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.eye(width))
    return made("source", classes), made("target", new), Backbone.of(network, inputs=width, machine=Machine(device="cpu"))
