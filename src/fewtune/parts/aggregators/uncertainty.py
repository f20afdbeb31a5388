"""Uncertainty: tasks with much noise weigh less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, check_scale
from fewtune.parts.aggregators.remembered import check_positive, not_negative, put


@final
@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """w_i = exp(-s_i) / 2, where s_i = log sigma_i^2 is learned to minimise sum_i exp(-s_i) L_i / 2 + s_i / 2; s_i starts at 0.

    At rest s_i = log L_i: each task weighs one over twice its loss. `rate`: s_i moves by rate x its gradient, at most by `rate` in a step.

    s is a state with a rate of its own, not a parameter that the phase's optimizer moves: a rate that suits an encoder (1e-5) would leave
    s where it began, a plan need not name it, weight decay does not pull it to 0, and it is no part of the saved model.

    With `scale="mean"` only the ratios of the weights count. Losses must be at least 0. One task alone weighs 1 with `scale="mean"`; with
    "own" it weighs exp(-s) / 2 (a declared exception to the axis' law).

    Reference: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics", CVPR 2018.
    Departs: the paper has exp(-s) L + s / 2 for classification; here all kinds of task have the form of regression.
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
        precision = torch.exp(-s)
        slope = (1 - precision * not_negative(seen, "Uncertainty")) / 2
        return precision / 2, {**state, "s": put(state["s"], seen, s - self.rate * slope.clamp(-1, 1))}
