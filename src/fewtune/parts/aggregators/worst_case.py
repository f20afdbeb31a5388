"""WorstCase: the hardest task alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """w = 1 for the task with the greatest loss, 0 for the others: a subgradient of max_i L_i. Tasks that tie share alike.

    Losses must be on one scale to be compared. A loss that is NaN makes all weights NaN, so that it cannot go unnoticed.

    Reference: Mehta, Lee, Gray, "Minimax multi-task learning and a generalized loss-compositional paradigm for MTL", NeurIPS 2012.
    """

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False
    scale: ClassVar[Scale] = "mean"

    begin = nothing_kept

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        losses = seen.losses
        worst = (losses == losses.max()).to(losses.dtype)
        return worst / worst.sum(), state
