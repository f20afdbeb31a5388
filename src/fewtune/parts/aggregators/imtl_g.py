"""ImtlG: the update whose projections on all gradients are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.solvers import unit_gram


@final
@dataclass(frozen=True, kw_only=True)
class ImtlG:
    """d with d . g_i / |g_i| equal for all i: w = v / sum_i |v_i|, v = pinv(G) (|g_1|, ..., |g_T|). Weights may be negative (a declared
    exception to the axis' law); a task whose gradient is zero weighs 0.

    Reference: Liu et al., "Towards impartial multi-task learning", ICLR 2021 (IMTL-G). Departs: the paper divides by sum_i v_i, which may
    be 0 or below it and then turns the update round; its closed form g_1 U' (D U')^-1 is singular where tasks agree, the pseudoinverse is
    not.
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
        weights = torch.zeros_like(seen.losses)
        if moving.any():
            found = np.linalg.pinv(R, rcond=1e-12, hermitian=True).sum(axis=1) * (lengths.min() / lengths)
            weights[torch.from_numpy(moving)] = torch.from_numpy(found / max(np.abs(found).sum(), 1e-300))  # 0 if no such update is
        return weights, state
