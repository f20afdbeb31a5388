"""`gram="layer"`: the Gram matrix of the tasks' gradients by layers, exact, without the T gradients.

A weight matrix that only linear layers use counts by their inputs and the gradients by their outputs (`layer_gram`). Every other weight
(norms, convolutions, factors of LoRA, heads) counts by its whole gradients, one a task. That takes T backward passes that stop at the
layers' outputs, and the update is then one whole backward pass of sum_i w_i L_i. Where the losses depend on the weights by the features
alone, but for rows of a head that each episode picks (slopes.py), one pass goes through the head for all tasks, and the passes below it run
as one if all that moves there are linear layers. In a network of linear layers that takes a fifth of the time of whole gradients, and the
memory of 2 or 3 gradients instead of T. With `gram="exact"` all T gradients are kept and added up (direction.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fewtune.learning.passing import Leaves, Passing, watching
from fewtune.learning.slopes import Apart, Rows, rows_gram
from fewtune.learning.world import World
from fewtune.parts.aggregators import gram, layer_gram

Pair: TypeAlias = tuple[Tensor, Tensor]  # what comes into a layer [N, i], and each task's gradient by what goes out [T, N, o]
Back: TypeAlias = list[Tensor | None]  # each task's gradient by what goes out [T, N, o], of every layer; None: no task has one
Start: TypeAlias = tuple[Tensor, Tensor | None]  # where a backward pass begins, and with which gradient


@final
class LayerGrams:
    """The Gram matrix of T tasks, added up over the parts of a batch and over processes."""

    def __init__(self, leaves: Leaves, tasks: int) -> None:
        self._leaves, self._tasks = leaves, tasks
        self._pairs: dict[str, list[Pair]] = {}
        self._whole: list[dict[str, Tensor | None]] = [{} for _ in range(tasks)]
        self._picked: dict[str, list[Rows]] = {}
        self._others: set[str] = set()
        self._passing = Passing()
        self.apart: Apart | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes what passes through the network inside, for `read`."""
        with watching(self._leaves) as self._passing:
            yield

    def read(self, losses: Sequence[Tensor | None], owner: Tensor, query: Tensor) -> None:  # noqa: ARG002
        """Takes up a part of the batch: the loss of each task in it [T], None for a task that is not there, and the task [E] of its
        episodes. The graph is kept."""
        passing = self._passing
        self._others |= passing.others
        calls, biases = passing.calls(), passing.biases()
        out = [call.out for _, call in calls]
        loose = [n for n in self._leaves if n not in biases and n not in {name for name, _ in calls}]
        back: Back | None = None
        starts: list[Start | None] = [None if loss is None else (loss, None) for loss in losses]
        self.apart = Apart.of(passing, losses, owner)
        if self.apart is not None:
            for name, rows in self.apart.picked:
                self._picked.setdefault(name, []).append(rows)
            loose = [n for n in loose if n in passing.before]
            said = self.apart.by_task
            back = None if loose else _at_once(self.apart.table, said, out)
            starts = [None if loss is None else (self.apart.table, said[task]) for task, loss in enumerate(losses)]
        if back is None:
            back = self._one_by_one(starts, out, loose)
        for (name, call), each in zip(calls, back, strict=True):
            if each is not None:
                self._pairs.setdefault(name, []).append((call.rows.to(each), each))
                if call.bias in biases:
                    for task, some in enumerate(each.sum(dim=1)):
                        self._add(task, {call.bias: some})

    def _one_by_one(self, starts: Sequence[Start | None], out: Sequence[GradientEdge], loose: Sequence[str]) -> Back:
        """What each task says at the layers' outputs, by a backward pass a task; whole gradients by other leaves are added up."""
        back: Back = [None] * len(out)
        by: list[Any] = [*out, *(self._leaves[n] for n in loose)]
        for task, start in enumerate(starts):
            if start is None or not by:
                continue
            found = torch.autograd.grad(start[0], by, grad_outputs=start[1], retain_graph=True, allow_unused=True)
            for place, some in enumerate(found[: len(out)]):
                if some is not None:
                    back[place] = _put(back[place], some, task, self._tasks)
            self._add(task, dict(zip(loose, found[len(out) :], strict=True)))
        return back

    def matrix(self, world: World) -> Tensor:
        """G [T, T], float64, of the whole batch."""
        linear = self._agreed(world)
        for name in self._pairs.keys() - set(linear):
            for rows, back in self._pairs.pop(name):
                for task in range(self._tasks):
                    self._add(task, {name: back[task].mT @ rows})
        total = torch.zeros(self._tasks, self._tasks, dtype=torch.float64)
        for name, parts in self._picked.items():
            picked, leaf = Rows.joined(parts), self._leaves[name]
            if world.size == 1 and not any(name in whole for whole in self._whole):
                total = total + rows_gram(picked, leaf, self._tasks)
            else:
                for task in range(self._tasks):
                    self._add(task, {name: picked.whole(leaf, task)})
        for name in linear:
            total = total + layer_gram(*self._joined(name, world)).cpu().double()
        loose = {n: leaf for n, leaf in self._leaves.items() if n not in linear}
        whole = [world.gradients(g, loose) for g in self._whole] if loose else [{}] * self._tasks
        return total + gram([{n: g for n, g in each.items() if g is not None} for each in whole]).cpu().double()

    def _agreed(self, world: World) -> list[str]:
        """The layers that some process has pairs of and none uses otherwise, in an order that all processes have."""
        names = list(self._leaves)
        paired = world.sum(torch.tensor([float(n in self._pairs) for n in names]))
        others = world.sum(torch.tensor([float(n in self._others) for n in names]))
        return [n for n, has, not_alone in zip(names, paired.tolist(), others.tolist(), strict=True) if has and not not_alone]

    def _joined(self, name: str, world: World) -> Pair:
        """The rows of all parts and processes."""
        mine = self._pairs.pop(name, [])
        if len(mine) == 1 and world.size == 1:
            return mine[0]
        like = next(iter(self._leaves.values()))
        width = (mine[0][0].shape[1], mine[0][1].shape[2], 1) if mine else (0, 0, 0)
        i, o, processes = world.sum(torch.tensor(width)).tolist()
        rows = [pair[0] for pair in mine] or [like.new_zeros(0, i // processes)]
        back = [pair[1] for pair in mine] or [like.new_zeros(self._tasks, 0, o // processes)]
        return world.joined(torch.cat(rows).detach(), 0), world.joined(torch.cat(back, dim=1).detach(), 1)

    def _add(self, task: int, gradients: Mapping[str, Tensor | None]) -> None:
        whole = self._whole[task]
        for name, gradient in gradients.items():
            if gradient is not None:
                before = whole.get(name)
                whole[name] = gradient.detach() if before is None else before + gradient.detach()


def _at_once(table: Tensor, slopes: Tensor, out: Sequence[GradientEdge]) -> Back | None:
    """The backward passes of all tasks as one; None where an operation has no rule for that."""
    if not out:
        return []
    try:
        found = torch.autograd.grad(table, out, grad_outputs=slopes, is_grads_batched=True, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None
    return [None if each is None else each.detach().flatten(1, -2) for each in found]


def _put(whole: Tensor | None, gradient: Tensor, task: int, tasks: int) -> Tensor:
    """The gradients [T, N, o] with that of one task in its place."""
    rows = gradient.detach().flatten(0, -2)
    if whole is None:
        whole = rows.new_zeros(tasks, *rows.shape)
    whole[task] = rows
    return whole
