"""CrossStitch: a network for each task, whose hidden layers are mixed by learned numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, active, dense_each, layers, repeated
from fewtune.parts.sharing.sharing import answered, asked, check, output_rows, read, root, started


@final
@dataclass(frozen=True, kw_only=True)
class CrossStitch:
    """After each of `depth` hidden layers x~_t = sum_u A_tu x_u, then the output rows of task t on x~_t.

    A is `<name>.stitch.<layer>` [T, T]: `keep` on its diagonal, (1 - keep) / (T - 1) off it; the identity where there is one task. A plan
    can give these names a rate of their own, as the authors do (100 to 1,000 times that of the weights). With the identity this is
    `Independent`. The networks begin with the same weights.

    Reference: Misra et al., "Cross-stitch networks for multi-task learning", CVPR 2016 (two tasks, .9 and .1). Departs: with more than two
    tasks the .1 is divided among the others, so that activations keep their size.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    keep: float = 0.9
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
        if not 0 <= self.keep <= 1:
            raise InputError(f"CrossStitch: keep is what a task takes of its own network at first, from 0 to 1, found {self.keep}.")

    @started
    def declare(self, width: int) -> Parameters:
        T = len(self.outputs)
        trunks = layers(root(self), width, self.width, self.depth, copies=T)
        own = torch.eye(T)
        stitch = self.keep * own + (1 - self.keep) / (T - 1) * (1 - own) if T > 1 else own
        return {**trunks, **{f"stitch.{n}": stitch for n in range(self.depth)}, **output_rows(self, self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        E, T = len(query), len(self.outputs)
        each = repeated(rows, T)
        for number in range(self.depth):
            plain = active(dense_each(own, f"trunk.{number}", each), self.activation)
            each = torch.einsum("tu,urh->trh", own[f"stitch.{number}"], plain)
        mine = each.view(T, E, query.shape[1], -1)[state["task"], torch.arange(E, device=rows.device)]
        return answered(own, state, mine, query)
