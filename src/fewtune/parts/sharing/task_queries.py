"""TaskQueries: a query for each task attends over tokens of the features, as the output queries of Perceiver IO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, active, dense, layer, layers
from fewtune.parts.sharing.sharing import (
    Descriptors,
    answered,
    asked,
    by_task,
    check,
    check_descriptors,
    described,
    described_width,
    output_rows,
    read,
    root,
    started,
)


@final
@dataclass(frozen=True, kw_only=True)
class TaskQueries:
    """q_t = V z_t attends over `tokens` tokens of `width`, with so many `attention_heads`; then `depth` residual layers, and the output
    rows of task t.

    Tokens are learned: one linear layer of the features gives all of them. z_t: a vector a task, by default one-hot; `descriptors` gives
    others. V begins at zero: at first every task attends alike.

    Reference: Jaegle et al., "Perceiver IO", ICLR 2022 (output queries by task). Departs: the input is one feature vector, so its tokens
    are learned chunks of it, and there is no array of latents between tokens and queries.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    tokens: int = 8
    attention_heads: int = 1
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
        if self.tokens < 1 or self.attention_heads < 1 or self.width % self.attention_heads:
            raise InputError(
                f"TaskQueries: expected at least one token, and heads that divide the width, found {self.tokens} tokens and "
                f"{self.attention_heads} heads of width {self.width}."
            )

    @started
    def declare(self, width: int) -> Parameters:
        H, place = self.width, root(self)
        made = {**layer(place, "token", width, self.tokens * H), **layers(place, H, H, self.depth)}
        for part in ("key", "value", "mixed"):
            made |= layer(place, part, H, H, gain=1.0)
        query = torch.zeros(H, described_width(self.outputs, self.descriptors))
        return {**made, "query.weight": query, **output_rows(self, H)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        E, Q, H = *query.shape[:2], self.width
        asking = by_task(own, "query.weight", described(self.outputs, self.descriptors, rows), state["task"])
        tokens = dense(own, "token", rows).view(E, Q * self.tokens, H)
        keys, values = (dense(own, part, tokens).view(E, Q, self.tokens, self.attention_heads, -1) for part in ("key", "value"))
        likeness = torch.einsum("eqchd,ehd->eqch", keys, asking.view(E, self.attention_heads, -1)) / (H / self.attention_heads) ** 0.5
        attended = torch.einsum("eqch,eqchd->eqhd", likeness.softmax(2), values).reshape(E, Q, H)
        found = asking + dense(own, "mixed", attended)
        for number in range(self.depth):
            found = found + active(dense(own, f"trunk.{number}", functional.layer_norm(found, (H,))), self.activation)
        return answered(own, state, found, query)
