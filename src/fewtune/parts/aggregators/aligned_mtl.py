"""AlignedMtl: gradients are turned and stretched until they are orthogonal and of one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class AlignedMtl:
    """With G = V diag(l) V': w = sqrt(l_min) V diag(l^-1/2) V' p, p_i = 1 / T: the mean of the nearest gradients that are orthogonal and
    all as long as the shortest principal one. Weights may be negative (a declared exception to the axis' law).

    Eigenvalues below T x 1e-15 of the greatest are left out, and l_min is the least of the others.

    Reference: Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023. Departs: p sums to 1, as in TorchJD;
    LibMTL takes ones.
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
        most = seen.inner.diagonal().max()
        even = torch.full_like(seen.losses, 1 / len(seen.losses))
        if most <= 0:
            return even, state
        values, vectors = torch.linalg.eigh(seen.inner / most)
        kept = values > values[-1] * len(values) * 1e-15
        stretch = torch.where(kept, (values[kept].min() / values.clamp_min(torch.finfo(values.dtype).tiny)).sqrt(), 0.0)
        return vectors @ (stretch * (vectors.mT @ even)), state
