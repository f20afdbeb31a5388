"""Aggregator: how the gradients of several tasks become one update, sum_i w_i g_i. It is given a statistic, never tasks."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

Needs: TypeAlias = Literal["losses", "gram"]


@runtime_checkable
class Aggregator(Protocol):
    """The axis of aggregators. Every final class of it passes the laws in tests/laws/test_aggregators.py.

    `needs`: the statistic it reads, the losses [T] or the Gram matrix [T, T] of the gradients, of the distinct tasks that are present:
    absent tasks are dropped by the caller, never rows of zeros. `constant`: the weights do not depend on the values
    of the statistic, only on which tasks there are.
    """

    needs: ClassVar[Needs]
    constant: ClassVar[bool]

    def weigh(
        self, statistic: Float[Tensor, "T ..."], order: Int[Tensor, "T others"] | None = None, tasks: Int[Tensor, " T"] | None = None
    ) -> Float[Tensor, " T"]:
        """The weights w [T], constants without gradient, in the statistic's dtype.

        `order` [T, T - 1]: for each task the others (positions 0..T-1) in the order in which they are met; only PcGrad reads it. `tasks`
        [T]: the ids of the tasks; only Fixed reads them.
        """
        ...
