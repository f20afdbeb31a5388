"""Additive: one network for all tasks that is told the task by a vector beside its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, active, dense, layers
from fewtune.parts.sharing.sharing import (
    Descriptors,
    answered,
    asked,
    by_task,
    check,
    check_descriptors,
    described,
    described_width,
    met,
    output_rows,
    read,
    root,
    started,
)


@final
@dataclass(frozen=True, kw_only=True)
class Additive:
    """h = act(W x + V z_t + b): the same as a linear layer on the concatenation [x, z_t], whose weight is [W, V].

    z_t: a vector a task, by default one-hot; `descriptors` gives others (the embedding of the task's name, columns about it). Further
    hidden layers (`depth` in all) and the outputs are as in `SharedBottom`. V begins at zero, so that it begins as `SharedBottom`.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    activation: Activation = "relu"
    descriptors: Descriptors = ()
    seed: int = 0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True
    own: ClassVar[tuple[str, ...]] = ()

    begin = nothing_own
    fit = asked

    def __post_init__(self) -> None:
        check(self)
        check_descriptors(self, self.descriptors)

    @started
    def declare(self, width: int) -> Parameters:
        trunk = layers(root(self), width, self.width, self.depth)
        task = torch.zeros(self.width, described_width(self.outputs, self.descriptors))
        return {**trunk, "task.weight": task, **output_rows(self, self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        z = described(self.outputs, self.descriptors, rows)
        rows = active(met(self, dense(own, "trunk.0", rows)) + by_task(own, "task.weight", z, state["task"]), self.activation)
        for number in range(1, self.depth):
            rows = active(dense(own, f"trunk.{number}", rows), self.activation)
        return answered(own, state, rows, query)
