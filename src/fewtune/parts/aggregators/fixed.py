"""Fixed: weights that are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Needs


@final
@dataclass(frozen=True, kw_only=True)
class Fixed:
    """w_i = weights[task id of i], as they stand: the static weights of sum_i w_i L_i, not normalised.

    With the ids of the tasks present, their entries are taken; without, one weight a row of the statistic is expected. One task alone is
    therefore not itself but its weight times itself: a declared exception to the axis' law. Raises InputError for a task without a
    weight.
    """

    weights: tuple[float, ...] = (1.0,)

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.weights or not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise InputError(f"expected one finite weight of at least 0 a task, found {self.weights}.")

    def weigh(
        self,
        statistic: Float[Tensor, "T ..."],
        order: Int[Tensor, "T others"] | None = None,  # noqa: ARG002
        tasks: Int[Tensor, " T"] | None = None,
    ) -> Float[Tensor, " T"]:
        ids = list(range(len(statistic))) if tasks is None else tasks.tolist()
        known = len(self.weights)
        if any(not 0 <= i < known for i in ids) or (tasks is None and len(ids) != known):
            if tasks is None:
                raise InputError(f"Fixed has {known} weights, one a task, but there are {len(ids)} tasks: give each its weight.")
            raise InputError(
                f"Fixed has {known} weights, one a task, but there are {len(ids)} tasks, with ids up to {max(ids)}: give each its weight, "
                "and the sampler task='collection' where sources or groups are the tasks."
            )
        return torch.tensor([self.weights[i] for i in ids], dtype=statistic.dtype, device=statistic.device)
