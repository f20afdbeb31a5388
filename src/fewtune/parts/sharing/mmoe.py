"""Mmoe: several experts that all tasks share, and a gate for each task that mixes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.meeting import meeting
from fewtune.parts.sharing.dense import Activation, active, dense_each, layer, layers, repeated
from fewtune.parts.sharing.sharing import answered, asked, check, output_rows, read, root, started
from fewtune.parts.sharing.towers import check_tower, through, towers
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Mmoe:
    """y_t = W_t f_t(x), f_t = sum_n g_tn f_n(x), g_t = softmax(G_t x): `experts` networks f_n of `depth` hidden layers of `width`.

    G is `<name>.gate.weight` [T, experts, D], without bias. With a `tower` of some width each task has a hidden layer between f_t and its
    outputs. With one expert this is `SharedBottom`. `dropout` in [0, 1): in training each expert of a gate is left out with this
    probability, for each row anew, and the others are renormalised; where all would be left out, they are drawn again.

    Reference: Ma et al., "Modeling task relationships in multi-task learning with multi-gate mixture-of-experts", KDD 2018; Zhao et al.,
    "Recommending what video to watch next", RecSys 2019 (dropout of experts against gates that choose one expert alone).
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    experts: int = 4
    tower: int = 0
    dropout: float = 0.0
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
        check_tower(self, self.tower)
        if self.experts < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                f"Mmoe: expected at least one expert and a dropout of at least 0 and below 1, found {self.experts} and {self.dropout}."
            )

    @started
    def declare(self, width: int) -> Parameters:
        place = root(self)
        experts = layers(place, width, self.width, self.depth, copies=self.experts, apart=True)
        gate = layer(place, "gate", width, self.experts, copies=len(self.outputs), apart=True, gain=1.0)["gate.weight"]
        return {**experts, "gate.weight": gate, **towers(self, self.tower), **output_rows(self, self.tower or self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        each = repeated(rows, self.experts)
        for number in range(self.depth):
            each = active(dense_each(own, f"trunk.{number}", each), self.activation)
        met = meeting(each.view(self.experts, *query.shape[:2], -1).movedim(0, 2).flatten(2))  # [E, Q, experts x width]
        each = met.view(*query.shape[:2], self.experts, -1)
        gate = torch.bmm(rows, own["gate.weight"][state["task"]].mT)
        if "kept" in own:  # softmax over the experts that are left: renormalised, also where a gate is nearly 0 or 1
            gate = gate.masked_fill(~own["kept"], -torch.inf)
        mixed = torch.einsum("eqn,eqnh->eqh", gate.softmax(-1), each)
        return answered(own, state, through(own, mixed, self, self.tower, state["task"]), query)

    def drawn(self, key: Key, episodes: Episodes, numbers: Sequence[int]) -> Parameters:
        """`<name>.kept` [E, Q, experts]: which experts each row has in one step of training; nothing without dropout."""
        if not self.dropout or self.experts == 1:
            return {}
        Q = episodes.query.shape[1]
        kept = np.stack([self._kept(key.child("experts", number), Q) for number in numbers])
        return {f"{self.name}.kept": torch.from_numpy(kept).to(episodes.query.device)}

    def _kept(self, key: Key, rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        places = np.arange(rows * self.experts, dtype=np.uint64).reshape(rows, self.experts)
        kept = key.uniform(places) >= self.dropout
        while (none := ~kept.any(1)).any():
            key = key.child("again")
            kept[none] = key.uniform(places[none]) >= self.dropout
        return kept


def gates(head: Mmoe, parameters: Parameters, features: Float[Tensor, "N D"]) -> Float[Tensor, "T N experts"]:
    """What each task's gate gives to each expert, for each row."""
    own, rows = read(head, parameters, features)
    return torch.einsum("nd,ted->tne", rows, own["gate.weight"]).softmax(-1)
