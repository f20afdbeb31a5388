"""UpGrad: each gradient is projected onto the updates that hurt no task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.solvers import non_negative, unit_gram


@final
@dataclass(frozen=True, kw_only=True)
class UpGrad:
    """The sum of the projections of all g_i onto the cone {d: g_j . d >= 0 for all j}: g_i + sum_j v_j g_j, v = argmin over v >= 0 of
    |g_i + sum_j v_j g_j|^2. No task's loss rises to first order. With two tasks it equals `PcGrad`; with more it needs no order.

    Reference: Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024 (UPGrad). Departs: with `scale="own"` it is the sum,
    as PcGrad's; TorchJD takes the mean.
    """

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
        shares = np.ones(len(lengths))
        for i, column in enumerate(R.T):
            if column.min() < 0:
                shares += non_negative(R, column) * (lengths[i] / lengths)
        weights = torch.ones_like(seen.losses)
        weights[torch.from_numpy(moving)] = torch.from_numpy(shares)
        return weights, state
