"""Mean: all tasks have the same weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float, Int
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs


@final
@dataclass(frozen=True, kw_only=True)
class Mean:
    """w_i = 1 / T over the T tasks present: the gradient of the mean loss, whatever the number of episodes of each task."""

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = True

    def weigh(
        self,
        statistic: Float[Tensor, "T ..."],
        order: Int[Tensor, "T others"] | None = None,  # noqa: ARG002
        tasks: Int[Tensor, " T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, " T"]:
        return statistic.new_full((len(statistic),), 1.0 / max(1, len(statistic)))
