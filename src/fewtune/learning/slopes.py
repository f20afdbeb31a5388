"""What every task's loss says at the features, from one backward pass through the head for all tasks.

An episode's loss depends on its own features and on the rows that it picks of the head's weights alone (a batch equals its members one by
one). So the gradient of the sum of all losses holds that of each task in the places of its episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import torch
from torch import Tensor

from fewtune.learning.passing import Passing
from fewtune.parts.aggregators import gram
from fewtune.parts.meeting import Met, Picked

Losses: TypeAlias = Sequence[Tensor | None]


def slopes_at(losses: Losses, places: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of the sum of the losses at some places of the graph, which is kept."""
    total = torch.stack([loss for loss in losses if loss is not None]).sum()
    return list(torch.autograd.grad(total, list(places), retain_graph=True, allow_unused=True))


def in_common(met: Met, owner: Tensor) -> bool:
    """Whether the features are those of a table, and some row of it is asked by two tasks; `owner` [E]: the task of each episode."""
    if met.table is None or met.place is None or met.place.numel() == len(met.table):
        return False
    pairs = torch.unique(met.place.cpu() + len(met.table) * owner.cpu()[:, None])
    return len(pairs) > len(torch.unique(pairs % len(met.table)))


def by_table(met: Met, slope: Tensor, owner: Tensor, tasks: int) -> Tensor:
    """The slopes [E, B, D] at the features, added up by task and row of the table: [T, U, D]."""
    assert met.table is not None and met.place is not None
    rows, width = met.table.shape
    place = (met.place + rows * owner.to(met.place.device)[:, None]).flatten()
    if torch.equal(place, torch.arange(tasks * rows, device=place.device)):  # every task asks for all rows, in order
        return slope.reshape(tasks, rows, width)
    return slope.new_zeros(tasks * rows, width).index_add_(0, place, slope.reshape(-1, width)).view(tasks, rows, width)


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """The gradients [M, ...] by M rows of a weight, which rows these are, and the task of each."""

    slopes: Tensor
    index: Tensor
    task: Tensor

    @staticmethod
    def of(pick: Picked, slope: Tensor, owner: Tensor) -> Rows:
        task = owner.to(slope.device)[:, None].expand_as(pick.index).flatten()
        flat, index = slope.flatten(0, 1), pick.index.flatten()
        there = flat.flatten(1).abs().amax(1) != 0 if flat.ndim > 1 else flat != 0  # padded places read row 0, in vain
        return Rows(flat[there], index[there], task[there])

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        return Rows(*(torch.cat([getattr(part, name) for part in parts]) for name in ("slopes", "index", "task")))

    def whole(self, like: Tensor, task: int) -> Tensor:
        """The gradient of a task by the whole weight."""
        mine = self.task == task
        return torch.zeros_like(like).index_add_(0, self.index[mine], self.slopes[mine])

    def weighed(self, weights: Tensor, like: Tensor) -> Tensor:
        """sum_t w_t g_t by the whole weight."""
        each = weights.to(self.slopes)[self.task].view(-1, *[1] * (self.slopes.ndim - 1))
        return torch.zeros_like(like).index_add_(0, self.index, each * self.slopes)


@final
@dataclass(frozen=True, eq=False)
class Apart:
    """What the losses of a part of a batch say at the features, `at` [E, B, D], and at rows that episodes picked of a head's weights."""

    passing: Passing
    met: Met
    at: Tensor
    picked: list[tuple[str, Rows]]
    owner: Tensor
    tasks: int

    @staticmethod
    def of(passing: Passing, losses: Losses, owner: Tensor) -> Apart | None:
        """By one backward pass through the head; None where the losses depend on the leaves in another way too. `owner` [E]: the task of
        each episode. The graph is kept."""
        if not passing.apart(len(owner)):
            return None
        met, picks = passing.met.backbone[0], passing.met.picked
        at, *said = slopes_at(losses, [met.features, *(pick.rows for pick in picks)])
        rows = [(n, Rows.of(pick, s, owner)) for n, pick, s in zip(passing.picked(), picks, said, strict=True) if s is not None]
        return Apart(passing, met, torch.zeros_like(met.features) if at is None else at, rows, owner, len(losses))

    @property
    def table(self) -> Tensor:
        assert self.met.table is not None
        return self.met.table

    @cached_property
    def by_task(self) -> Tensor:
        """[T, U, D] at the table of features."""
        return by_table(self.met, self.at, self.owner, self.tasks)

    def update(self, weights: Tensor) -> dict[str, Tensor | None]:
        """sum_t w_t g_t by each leaf, from the weights [T] of the tasks, by one backward pass below the features. It frees the graph."""
        w = weights.to(self.at)
        if 2 * self.met.rows.numel() >= self.tasks * len(self.table):  # most tasks ask for most rows
            slope = (w @ self.by_task.flatten(1)).view_as(self.table)
        else:
            each = self.at * w[self.owner.to(w.device)][:, None, None]
            slope = by_table(self.met, each, torch.zeros_like(self.owner), 1)[0]
        leaves = self.passing.leaves
        found: dict[str, Tensor | None] = dict.fromkeys(leaves)
        below = [n for n in leaves if n in self.passing.before]
        found |= zip(below, torch.autograd.grad(self.table, [leaves[n] for n in below], grad_outputs=slope, allow_unused=True), strict=True)
        for name, rows in self.picked:
            mine = rows.weighed(weights, leaves[name])
            before = found[name]
            found[name] = mine if before is None else before + mine
        return found


def rows_gram(found: Rows, like: Tensor, tasks: int) -> Tensor:
    """The Gram matrix [T, T] of gradients that are zero but for some rows of a weight."""
    pairs = torch.unique(found.index * tasks + found.task)
    if len(pairs) == len(found.index) == len(torch.unique(found.index)):  # no row is of two tasks
        squares = (
            torch.linalg.vector_norm(found.slopes.flatten(1) if found.slopes.ndim > 1 else found.slopes[:, None], dim=1).cpu().double()
        )
        return torch.diag(squares.new_zeros(tasks).index_add_(0, found.task.cpu(), squares.square()))
    return gram([{"": found.whole(like, task)} for task in range(tasks)]).cpu().double()
