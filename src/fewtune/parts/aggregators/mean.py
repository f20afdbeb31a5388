"""Mean: all tasks have the same weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class Mean:
    """w_i = 1 / T over the T tasks present: the gradient of the mean loss, whatever the number of episodes of each task.

    A plain mean with some weight decay is hard to beat: it is the default, and what every other aggregator should be compared with.
    Reference: Kurin et al., "In defense of the unitary scalarization for deep multi-task learning", NeurIPS 2022.
    """

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = True
    scale: ClassVar[Scale] = "mean"

    begin = nothing_kept

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        return seen.losses.new_full((len(seen.losses),), 1.0 / max(1, len(seen.losses))), state
