"""MinNorm: the shortest convex combination of the tasks' gradients (MGDA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.solvers import min_norm, unit_gram


@final
@dataclass(frozen=True, kw_only=True)
class MinNorm:
    """w = argmin over w >= 0, sum_i w_i = 1, of |sum_i w_i g_i|^2. If that is above 0, the update lowers all losses; at 0 none can fall
    without another's rise. With two tasks w_1 = clip((g_2 - g_1) . g_2 / |g_1 - g_2|^2, 0, 1).

    The quadratic problem is solved exactly (an active set). `unit`: gradients are first divided by their lengths; without, the task with
    the shortest gradient has most of the weight.

    Reference: Desideri, "Multiple-gradient descent algorithm (MGDA)", 2012; Sener, Koltun, "Multi-task learning as multi-objective
    optimization", NeurIPS 2018. Departs: they iterate (Frank and Wolfe), which stops early.
    """

    unit: bool = False
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_reading(self)

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        R, lengths, moving = unit_gram(seen.inner)
        weights = torch.zeros_like(seen.losses)
        if not moving.all():  # a gradient of zero is the shortest combination
            weights[~torch.from_numpy(moving)] = 1.0
            return weights / weights.sum(), state
        found = min_norm(R) / lengths if self.unit else min_norm(seen.inner.numpy())
        return torch.from_numpy(found / found.sum()), state
