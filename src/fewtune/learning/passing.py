"""What is noted of a forward pass: linear layers by leaves, other uses of leaves, and where tasks meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from fewtune.parts.meeting import Meetings, meetings

Leaves: TypeAlias = Mapping[str, Tensor]


@final
@dataclass(frozen=True, eq=False)
class Call:
    """A linear layer in a forward pass: what came in [N, i], where in the graph it went out, and the name of its bias, if it is a leaf."""

    rows: Tensor
    out: GradientEdge
    bias: str | None


@final
@dataclass(frozen=True, eq=False)
class Passing:
    """What was noted of a forward pass: calls of layers by the name of their weight, the weights that were used otherwise, and all that
    were used before and after the features of the backbone were there, a name as often as it was used."""

    leaves: Leaves = field(default_factory=dict)
    met: Meetings = field(default_factory=Meetings)
    layers: dict[str, list[Call]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def calls(self) -> list[tuple[str, Call]]:
        """Those of layers whose weight is used by linear layers alone."""
        return [(name, call) for name, found in self.layers.items() if name not in self.others for call in found]

    def biases(self) -> set[str]:
        """The biases of these layers that are nothing else."""
        elsewhere = {call.bias for name, found in self.layers.items() if name in self.others for call in found}
        return {call.bias for _, call in self.calls() if call.bias is not None} - elsewhere - self.others

    def picked(self) -> list[str]:
        """The names of the weights that were picked of; "" for what is no leaf."""
        names = {id(leaf): name for name, leaf in self.leaves.items()}
        return [names.get(id(pick.table), "") for pick in self.met.picked]

    def apart(self, episodes: int) -> bool:
        """Whether the losses depend on the leaves by the features of the backbone and by rows that each episode picks, and no other way."""
        if len(self.met.backbone) != 1 or self.met.backbone[0].table is None or len(self.met.backbone[0].features) != episodes:
            return False
        picked = self.picked()
        each = all(pick.index.ndim == 2 and len(pick.index) == episodes for pick in self.met.picked)
        return each and sorted(picked) == sorted(self.after) and not set(picked) & set(self.before)


@contextmanager
def watching(leaves: Leaves) -> Iterator[Passing]:
    """What passes through the network inside."""
    with meetings() as met:
        passing = Passing(leaves=leaves, met=met)
        with _Watch(leaves, passing):
            yield passing


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
        (self._passing.after if self._passing.met.backbone else self._passing.before).extend(used)
        if func is torch.nn.functional.linear and not kwargs and self._plain(args, found):
            weight, bias = self._names[id(args[1])], self._names.get(id(args[2])) if len(args) > 2 else None
            call = Call(args[0].detach().flatten(0, -2), get_gradient_edge(found), bias)
            self._passing.layers.setdefault(weight, []).append(call)
            used = [name for name in used if name not in (weight, bias)]
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
