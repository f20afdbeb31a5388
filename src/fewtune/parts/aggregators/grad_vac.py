"""GradVac: gradients are turned until they are as alike as they usually are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading
from fewtune.parts.aggregators.pc_grad import projection_order
from fewtune.parts.aggregators.remembered import check_share


@final
@dataclass(frozen=True, kw_only=True)
class GradVac:
    """As PcGrad, but for each pair the cosine phi of g'_i and g_j is held against its running mean m_ij: if phi < m_ij, then
    g'_i += |g'_i| (m sqrt(1 - phi^2) - phi sqrt(1 - m^2)) / (|g_j| sqrt(1 - m^2)) g_j, whose cosine with g_j is m. Then
    m_ij <- (1 - beta) m_ij + beta phi. m starts at 0, where this is PcGrad; the update is the sum of the g'_i.

    Computed from the Gram matrix alone; a task whose gradient is zero takes no part.

    Reference: Wang et al., "Gradient vaccine", ICLR 2021 (beta = 1e-2; LibMTL and TorchJD have 0.5).
    """

    beta: float = 0.01
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_reading(self)
        check_share(self, beta=self.beta)

    def begin(self, tasks: int) -> State:
        return {"usual": torch.zeros(tasks, tasks, dtype=torch.float64)}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        lengths = seen.inner.diagonal().sqrt()
        unit = torch.where(lengths > 0, lengths, 1.0)
        R = seen.inner / unit[:, None] / unit
        T = len(R)
        C, rows, usual = torch.eye(T, dtype=R.dtype), torch.arange(T), state["usual"][seen.tasks][:, seen.tasks]
        for j in projection_order(seen.key, seen.tasks).unbind(dim=1):
            size = ((C @ R) * C).sum(dim=1).clamp_min(0).sqrt()
            known = (size > 0) & (lengths[j] > 0)
            phi = torch.where(known, (C * R[j]).sum(dim=1) / torch.where(known, size, 1.0), 0.0).clamp(-1, 1)
            m = usual[rows, j]
            rise = size * (m * (1 - phi**2).sqrt() / (1 - m**2).clamp_min(1e-12).sqrt() - phi)
            C[rows, j] += torch.where(known & (phi < m), rise, 0.0)
            usual[rows, j] = torch.where(known, m + self.beta * (phi - m), m)
        whole = state["usual"].clone()
        whole[seen.tasks[:, None], seen.tasks] = usual
        weights = (unit[:, None] * C / unit).sum(dim=0)  # of unit gradients back to their own lengths
        return weights, {**state, "usual": whole}
