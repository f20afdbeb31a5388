"""Gating: one network in which gates of 0 and 1 say which units a task uses, from nothing shared to everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, active, dense, layers
from fewtune.parts.sharing.sharing import answered, asked, check, met, output_rows, read, root, started


@final
@dataclass(frozen=True, kw_only=True)
class Gating:
    """h = g_t * act(W x + b) in each of `depth` hidden layers; the gates g_t are constants, 0 or 1.

    Every task uses `width` units of each layer: the part `share` (0 to 1) of them is the same for all tasks, the others are its own. With
    share 0 the tasks share nothing, and this is `Independent` in one network; with share 1 it is `SharedBottom`. Between them it is a scale
    of how much is shared. The layers have share x width + T (1 - share) width units in all.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    share: float = 0.5
    activation: Activation = "relu"
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
        if not 0 <= self.share <= 1:
            raise InputError(f"Gating: share is the shared part of the units, from 0 to 1, found {self.share}.")

    @property
    def common(self) -> int:
        """How many units of a layer all tasks use."""
        return round(self.share * self.width)

    @property
    def units(self) -> int:
        """How many units a layer has in all."""
        return self.common + len(self.outputs) * (self.width - self.common)

    def gates(self, like: Tensor) -> Float[Tensor, "T units"]:
        """1 where a task uses a unit: the common ones come first, then those of task 0, of task 1, ..."""
        T, mine = len(self.outputs), self.width - self.common
        owners = torch.arange(T, device=like.device).repeat_interleave(mine)
        apart = owners == torch.arange(T, device=like.device)[:, None]
        return torch.cat([apart.new_ones(T, self.common), apart], 1).to(like)

    @started
    def declare(self, width: int) -> Parameters:
        """A unit sees `width` units of the layer before, so its weights begin as in a layer of that width."""
        trunk = layers(root(self), width, self.units, self.depth)
        seen = (self.units / self.width) ** 0.5
        wide = {part: t * seen if part.endswith("weight") and not part.startswith("trunk.0") else t for part, t in trunk.items()}
        out = {part: t * seen if part.endswith("weight") else t for part, t in output_rows(self, self.units).items()}
        return {**wide, **out}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        gates = self.gates(rows)[state["task"]][:, None]
        for number in range(self.depth):
            rows = gates * active(met(self, dense(own, f"trunk.{number}", rows)), self.activation)
        return answered(own, state, rows, query)
