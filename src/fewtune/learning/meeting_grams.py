"""`gram="representation"`: gradients are compared at the features where tasks meet, instead of by all weights. Approximate.

Tasks meet at the features of the backbone, if the head does not say otherwise (`parts.meeting`). Their gradients count as those of one more
linear layer, with a bias, on these features; what lies below is not looked at. One backward pass through the head gives them for all tasks,
since an episode's loss depends on its own features alone, and the update is one whole backward pass of sum_i w_i L_i.

Departs from Sener and Koltun, "Multi-task learning as multi-objective optimization", NeurIPS 2018, who compare the gradients by the
features themselves: where tasks have different rows, as in `PerTask`, these have no product at all, and no conflict would ever be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.learning.passing import Leaves, Passing, watching
from fewtune.learning.slopes import Apart, by_table, in_common, slopes_at
from fewtune.learning.world import World
from fewtune.parts.aggregators import layer_gram, owned_gram
from fewtune.parts.meeting import Met


@final
@dataclass(frozen=True, eq=False)
class _Found:
    """Features [M, D + 1] with a one at the end, gradients [M, D] by them, which row each is of, and its task [M]."""

    features: Tensor
    slopes: Tensor
    row: Tensor
    task: Tensor


@final
@dataclass(frozen=True, eq=False)
class _Said:
    """Features that were met, without their graph, what the losses say there [E, B, D], and the task [E] of each episode."""

    met: Met
    slope: Tensor
    owner: Tensor

    def flat(self) -> _Found:
        row = self.met.rows.cpu()
        here = (row >= 0).flatten()
        kept = here.to(self.slope.device)
        task = self.owner.cpu()[:, None].expand_as(row).flatten()[here]
        return _Found(_widened(self.met.features.flatten(0, 1)[kept]), self.slope.flatten(0, 1)[kept], row.flatten()[here], task)

    def matrix(self, tasks: int) -> Tensor:
        """G [T, T] where tasks have rows of the table in common."""
        assert self.met.table is not None
        padding = (self.met.rows < 0).to(self.slope.device)
        slope = self.slope.masked_fill(padding[:, :, None], 0.0) if bool(padding.any()) else self.slope
        return layer_gram(_widened(self.met.table), by_table(self.met, slope, self.owner, tasks))


def _widened(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


@final
class MeetingGrams:
    """The Gram matrix of T tasks, added up over the parts of a batch and over processes."""

    def __init__(self, leaves: Leaves, tasks: int) -> None:
        self._leaves, self._tasks = leaves, tasks
        self._said: list[_Said] = []
        self._passing = Passing()
        self.apart: Apart | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes the features inside, for `read`."""
        with watching(self._leaves) as self._passing:
            yield

    def read(self, losses: Sequence[Tensor | None], owner: Tensor, query: Tensor) -> None:
        """Takes up a part of the batch: the loss of each task in it [T], the task [E] and the query rows [E, Q] of its episodes."""
        noted = self._passing.met
        met = [Met(features, query) for features in noted.heads] or noted.backbone
        if not met:
            raise InputError(
                "gram='representation' compares gradients at the features, but nothing below them moves and the head has no layers that "
                "its tasks share: use gram='layer'."
            )
        if any(len(one.features) != len(owner) for one in met):
            raise InputError("gram='representation' needs all episodes to have their features at once, found an Adapt: use gram='exact'.")
        self.apart = None if noted.heads else Apart.of(self._passing, losses, owner)
        found = slopes_at(losses, [one.features for one in met]) if self.apart is None else [self.apart.at]
        for one, slope in zip(met, found, strict=True):
            assert one.rows.shape == one.features.shape[:2]
            if slope is not None:
                self._said.append(_Said(one.detached(), slope, owner))

    def matrix(self, world: World) -> Tensor:
        """G [T, T], float64, of the whole batch."""
        if world.size == 1 and len(self._said) == 1 and in_common(self._said[0].met, self._said[0].owner):
            return self._said[0].matrix(self._tasks).cpu().double()
        whole = self._joined(world)
        row, place = torch.unique(whole.row, return_inverse=True)
        place = place.to(whole.features.device)
        task = whole.task.to(whole.features.device)
        if len(row) < len(whole.row):  # rows that several tasks share count once, if their features are the same
            first = whole.features.new_empty(len(row), whole.features.shape[1])
            first[place] = whole.features
            if torch.equal(first[place], whole.features):
                back = whole.slopes.new_zeros(self._tasks, len(row), whole.slopes.shape[1])
                back.index_put_((task, place), whole.slopes, accumulate=True)
                return layer_gram(first, back).cpu().double()
        return owned_gram(whole.features, whole.slopes, task, self._tasks).cpu().double()

    def _joined(self, world: World) -> _Found:
        """What all parts and processes found, in one order."""
        found = [one.flat() for one in self._said]
        if world.size > 1:
            width = int(world.sum(torch.tensor([f.slopes.shape[1] for f in found[:1]] or [0])))
            having = int(world.sum(torch.tensor([len(found[:1])])))
            none = torch.zeros(0, dtype=torch.int64)
            empty = torch.zeros(0, width // having)
            found.append(_Found(torch.zeros(0, width // having + 1), empty, none, none))
        parts = [(f.features, f.slopes, f.row, f.task) for f in found]
        like = parts[0][0]
        features, slopes, row, task = (
            world.joined(torch.cat([each.to(like) if each.is_floating_point() else each for each in some]))
            for some in zip(*parts, strict=True)
        )
        return _Found(features, slopes, row, task)
