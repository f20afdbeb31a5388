"""Mtan: one trunk for all tasks, and an attention network for each that chooses among what its layers found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, active, dense, layer, layers
from fewtune.parts.sharing.sharing import answered, asked, check, met, output_rows, read, root, started


@final
@dataclass(frozen=True, kw_only=True)
class Mtan:
    """In each of `depth` layers the mask a_t = sigmoid(V_t act(U_t [u, m_t])) weighs the shared units: m_t <- a_t * p.

    u: the layer before its activation, p: after it (p goes on to the next shared layer); [u, m_t]: u beside the masked units of the layer
    before, u alone in the first. The output rows of task t read the last m_t.

    Reference: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019. Departs: dense layers for convolutions; no
    batch normalisation, with which an answer would depend on the other rows of the batch.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
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

    @started
    def declare(self, width: int) -> Parameters:
        H, T, place = self.width, len(self.outputs), root(self)
        made = layers(place, width, H, self.depth)
        for number in range(self.depth):
            made |= layer(place, f"attend.{number}", 2 * H if number else H, H, copies=T, apart=True)
            made |= layer(place, f"mask.{number}", H, H, copies=T, apart=True, gain=1.0)
        return {**made, **output_rows(self, H)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, shared = read(self, parameters, query)
        task = state["task"]
        masked = shared
        for number in range(self.depth):
            before = met(self, dense(own, f"trunk.{number}", shared))
            shared = active(before, self.activation)
            seen = torch.cat([before, masked], -1) if number else before
            attended = active(dense(own, f"attend.{number}", seen, task), self.activation)
            masked = torch.sigmoid(dense(own, f"mask.{number}", attended, task)) * shared
        return answered(own, state, masked, query)
