"""FairGrad: fair shares of the gain, from the plain sum to the worst case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.nash import fair
from fewtune.parts.aggregators.remembered import check_positive


@final
@dataclass(frozen=True, kw_only=True)
class FairGrad:
    """a > 0 with G a = a^(-1 / alpha): of all updates of one length, the one with the greatest sum_i gain_i^(1 - alpha) / (1 - alpha).

    `alpha` above 0: near 0 the plain sum, 1 is `Nash`, large: the smallest gain counts. Solved as `Nash`. With `scale="own"` one task
    alone weighs |g|^(-2 alpha / (1 + alpha)) (a declared exception to the axis' law).

    Reference: Ban, Ji, "Fair resource allocation in multi-task learning", ICML 2024. Departs: they minimise the squared residual by a
    generic least-squares solver.
    """

    alpha: float = 2.0
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_reading(self)
        check_positive(self, alpha=self.alpha)

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        return fair(seen, 1 / self.alpha), state
