"""GroupDro: weights move towards the tasks with the greatest losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State
from fewtune.parts.aggregators.remembered import check_positive, first_losses, put, relative, with_first


@final
@dataclass(frozen=True, kw_only=True)
class GroupDro:
    """q_i <- q_i exp(rate x L_i), brought to a sum of 1, and w = q: mirror ascent on min_theta max_q sum_i q_i L_i. q starts even.

    `relative`: L_i / L_i(0) instead of L_i, where L_i(0) is the mean of the task's first 10 losses. Use it where losses have different
    scales (a number beside a class), or the task with the largest unit wins for ever; losses must then be at least 0.

    Reference: Sagawa et al., "Distributionally robust neural networks for group shifts", ICLR 2020 (algorithm 1). Departs: without the
    adjustment C / sqrt(n_i) of section 3.3; q is brought to a sum of 1 over the tasks that are present.
    """

    rate: float = 0.01
    relative: bool = False

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False
    scale: ClassVar[Scale] = "mean"

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)

    def begin(self, tasks: int) -> State:
        return {"log_q": torch.zeros(tasks, dtype=torch.float64), **(first_losses(tasks) if self.relative else {})}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        losses = seen.losses
        if self.relative:
            state = with_first(seen, state)
            losses = relative(seen, state)
        log_q = state["log_q"][seen.tasks]
        mass = torch.logsumexp(log_q, dim=0)  # what the tasks present have together stays theirs
        new = torch.log_softmax(log_q + self.rate * losses, dim=0)
        return new.exp(), {**state, "log_q": put(state["log_q"], seen, new + mass)}
