"""Fixed: weights that are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class Fixed:
    """w_i = weights[task id of i], as they stand: the static weights of sum_i w_i L_i, not normalised.

    Weights are given by the numbers of the tasks (0, 1, ... as in the collection). One task alone is therefore not itself but its weight
    times itself: a declared exception to the axis' law. Raises InputError for a task without a weight.
    """

    weights: tuple[float, ...] = (1.0,)

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = True
    scale: ClassVar[Scale] = "own"

    def __post_init__(self) -> None:
        if not self.weights or not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise InputError(f"expected one finite weight of at least 0 a task, found {self.weights}.")

    begin = nothing_kept

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        ids, known = seen.tasks.tolist(), len(self.weights)
        if any(not 0 <= i < known for i in ids):
            raise InputError(
                f"Fixed has {known} weights, one a task, but there are {len(ids)} tasks, with ids up to {max(ids)}: give each its weight, "
                "and the sampler task='collection' where sources or groups are the tasks."
            )
        return torch.tensor([self.weights[i] for i in ids], dtype=seen.losses.dtype), state
