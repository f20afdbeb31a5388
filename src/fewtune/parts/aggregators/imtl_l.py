"""ImtlL: losses are brought to one scale that is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, check_scale
from fewtune.parts.aggregators.remembered import check_positive, not_negative, put


@final
@dataclass(frozen=True, kw_only=True)
class ImtlL:
    """w_i = exp(s_i), where s_i is learned to minimise sum_i exp(s_i) L_i - s_i; s_i starts at 0. At rest exp(s_i) L_i = 1 for all.

    `rate`: s_i moves by rate x its gradient, at most by `rate` in a step. It is a state with a rate of its own, for the reasons given in
    `Uncertainty`. Losses must be at least 0. One task alone weighs 1 with `scale="mean"`; with "own" it weighs exp(s).

    Reference: Liu et al., "Towards impartial multi-task learning", ICLR 2021 (IMTL-L).
    """

    rate: float = 0.025
    scale: Scale = "mean"

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)
        check_scale(self)

    def begin(self, tasks: int) -> State:
        return {"s": torch.zeros(tasks, dtype=torch.float64)}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        s = state["s"][seen.tasks]
        weights = torch.exp(s)
        slope = weights * not_negative(seen, "ImtlL") - 1
        return weights, {**state, "s": put(state["s"], seen, s - self.rate * slope.clamp(-1, 1))}
