"""Film: one network for all tasks whose hidden units are scaled and shifted by the task (multiplicative conditioning)."""

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
class Film:
    """h = act(gamma(z_t) * (W x + b) + beta(z_t)) in each of `depth` hidden layers, gamma = 1 + G z_t and beta = B z_t.

    z_t: a vector a task, by default one-hot; `descriptors` gives others. G and B begin at zero, so that gamma begins at 1 and beta at 0,
    and the head begins as `SharedBottom`.
    Reference: Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018.
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
        zeros = torch.zeros(self.width, described_width(self.outputs, self.descriptors))
        film = {f"{part}.{number}": zeros for number in range(self.depth) for part in ("gamma", "beta")}
        return {**trunk, **film, **output_rows(self, self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        z = described(self.outputs, self.descriptors, rows)
        for number in range(self.depth):
            gamma = 1 + by_task(own, f"gamma.{number}", z, state["task"])
            beta = by_task(own, f"beta.{number}", z, state["task"])
            rows = active(gamma * met(self, dense(own, f"trunk.{number}", rows)) + beta, self.activation)
        return answered(own, state, rows, query)
