"""Rlw: random weights, a baseline that weightings of losses should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class Rlw:
    """w = softmax(z), z_i standard normal and new in every step: a function of the step's key and the task's number.

    Reference: Lin et al., "Reasonable effectiveness of random weighting: a litmus test for multi-task learning", TMLR 2022. Departs: the
    weights sum to 1, as in the paper; LibMTL multiplies them by T.
    """

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = True
    scale: ClassVar[Scale] = "mean"

    begin = nothing_kept

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        counters = seen.tasks.numpy().astype(np.uint64)
        length, angle = (torch.from_numpy(seen.key.child("rlw", part).uniform(counters)) for part in ("length", "angle"))
        z = torch.sqrt(-2 * torch.log1p(-length)) * torch.cos(2 * torch.pi * angle)  # Box and Muller
        return torch.softmax(z, dim=0), state
