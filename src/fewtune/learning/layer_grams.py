"""`gram="layer"`: the Gram matrix of the tasks' gradients by layers, exact, without the T gradients.

A weight matrix that only linear layers use counts by their inputs and the gradients by their outputs (`layer_gram`). Every other weight
(norms, biases, convolutions, factors of LoRA, heads) counts by its whole gradients, one a task. That takes T backward passes that stop at
the layers' outputs, and the update is then one whole backward pass of sum_i w_i L_i. In a network of linear layers that takes less time
than whole gradients, and the memory of 2 or 3 gradients instead of T. With `gram="exact"` all T gradients are kept and added up
(direction.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from fewtune.learning.world import World
from fewtune.parts.aggregators import gram, layer_gram

Leaves: TypeAlias = Mapping[str, Tensor]
Pair: TypeAlias = tuple[Tensor, Tensor]  # what comes into a layer [N, i], and each task's gradient by what goes out [T, N, o]


@final
@dataclass(frozen=True, eq=False)
class Passing:
    """What was noted of a forward pass: by layer, what came in [N, i] and where in the graph it went out; and weights used otherwise."""

    layers: dict[str, list[tuple[Tensor, GradientEdge]]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def note(self, name: str, rows: Tensor, output: Tensor) -> None:
        self.layers.setdefault(name, []).append((rows.detach().flatten(0, -2), get_gradient_edge(output)))


@final
class LayerGrams:
    """The Gram matrix of T tasks, added up over the parts of a batch and over processes."""

    def __init__(self, leaves: Leaves, tasks: int) -> None:
        self._leaves, self._tasks = leaves, tasks
        self._pairs: dict[str, list[Pair]] = {}
        self._whole: list[dict[str, Tensor | None]] = [{} for _ in range(tasks)]
        self._others: set[str] = set()
        self._passing = Passing()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes what passes through the network inside, for `read`."""
        self._passing = Passing()
        with _Watch(self._leaves, self._passing):
            yield

    def read(self, losses: Sequence[Tensor | None], owner: Tensor, query: Tensor) -> None:  # noqa: ARG002
        """Takes up a part of the batch by the loss of each task in it [T], None for a task that is not there. The graph is kept."""
        passing = self._passing
        self._others |= passing.others
        calls = [(n, *call) for n, found in passing.layers.items() if n not in passing.others for call in found]
        linear = {n for n, _, _ in calls}
        loose = [n for n in self._leaves if n not in linear]
        by: list[Any] = [*(edge for _, _, edge in calls), *(self._leaves[n] for n in loose)]
        back: list[Tensor | None] = [None] * len(calls)
        for task, loss in enumerate(losses):
            if loss is None or not by:
                continue
            found = torch.autograd.grad(loss, by, retain_graph=True, allow_unused=True)
            for place, some in enumerate(found[: len(calls)]):
                if some is not None:
                    back[place] = _put(back[place], some, task, self._tasks)
            self._add(task, dict(zip(loose, found[len(calls) :], strict=True)))
        for (name, rows, _), each in zip(calls, back, strict=True):
            if each is not None:
                self._pairs.setdefault(name, []).append((rows.to(each), each))

    def matrix(self, world: World) -> Tensor:
        """G [T, T], float64, of the whole batch."""
        linear = self._agreed(world)
        for name in self._pairs.keys() - set(linear):
            for rows, back in self._pairs.pop(name):
                for task in range(self._tasks):
                    self._add(task, {name: back[task].mT @ rows})
        total = torch.zeros(self._tasks, self._tasks, dtype=torch.float64)
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


def _put(whole: Tensor | None, gradient: Tensor, task: int, tasks: int) -> Tensor:
    """The gradients [T, N, o] with that of one task in its place."""
    rows = gradient.detach().flatten(0, -2)
    if whole is None:
        whole = rows.new_zeros(tasks, *rows.shape)
    whole[task] = rows
    return whole


@final
class _Watch(TorchFunctionMode):
    """Sees every call of a torch function: linear layers by a leaf are noted, and so is every other use of a leaf."""

    def __init__(self, leaves: Leaves, passing: Passing) -> None:
        super().__init__()
        self._names, self._passing = {id(leaf): name for name, leaf in leaves.items()}, passing
        self._views: list[Tensor] = []  # held, so that no other tensor gets their ids

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        used = [name for t in _flat([*args, *kwargs.values()]) if (name := self._names.get(id(t))) is not None]
        if func is torch.Tensor.expand and len(used) == 1:  # a view that nothing has used yet
            self._names[id(found)] = used[0]
            self._views.append(found)
            return found
        if not used or not any(isinstance(t, Tensor) and t.requires_grad and id(t) not in self._names for t in _flat([found])):
            return found
        if func is torch.nn.functional.linear and not kwargs and self._plain(args, found):
            self._passing.note(self._names[id(args[1])], args[0], found)
            used.remove(self._names[id(args[1])])
        self._passing.others.update(used)
        return found

    def _plain(self, args: Any, found: Tensor) -> bool:
        """Whether it is a layer of rows by a weight that is a leaf, outside of vmap."""
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor
        return id(args[1]) in self._names and id(args[0]) not in self._names and args[0].ndim > 1 and not wrapped(found)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
