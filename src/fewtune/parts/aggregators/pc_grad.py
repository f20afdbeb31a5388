"""PcGrad: gradients that conflict are projected off each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.parts.aggregators.aggregator import Needs
from fewtune.parts.heads.features import exact


@final
@dataclass(frozen=True, kw_only=True)
class PcGrad:
    """For each task i, over the others j in random order: if g'_i . g_j < 0 then g'_i -= (g'_i . g_j) / ||g_j||^2 g_j; the update is
    the **sum** of the g'_i. g'_i starts at g_i, and g_j is the original one throughout.

    Exact from the Gram matrix alone, G = (g_i . g_j): with g'_i = sum_k C[i, k] g_k, g'_i . g_j = (C G)[i, j], a projection subtracts
    (C G)[i, j] / G[j, j] from C[i, j], and w = C summed over i. Computed in float64. All tasks go through their orders at once: T - 1 steps
    of T x T numbers. Without conflict w = 1, the plain sum; a task whose gradient is zero conflicts with none. Weights are at
    least 1: rates that suit the mean of gradients must be divided by T.

    `order` [T, T - 1] is an argument (see `projection_order`), so a run can be repeated. Raises InputError where it is missing.

    Reference: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020 (algorithm 1). Departs: the authors' code shuffles a list
    that it then does not use, so its order never changes, and a well-known port averages instead of summing; this follows the paper.
    """

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    def weigh(
        self,
        statistic: Float[Tensor, "T ..."],
        order: Int[Tensor, "T others"] | None = None,
        tasks: Int[Tensor, " T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, " T"]:
        G = exact(statistic.detach())
        T = len(G)
        if T > 1 and order is None:
            raise InputError(f"PcGrad needs the order of its projections [{T}, {T - 1}]: make one by projection_order.")
        C, rows, squares = torch.eye(T, dtype=G.dtype, device=G.device), torch.arange(T, device=G.device), G.diagonal()
        for j in () if order is None else order.to(G.device).unbind(dim=1):
            inner = (C * G[j]).sum(dim=1)
            conflict = (inner < 0) & (squares[j] > 0)
            C[rows, j] -= torch.where(conflict, inner / squares[j], 0.0)
        return C.sum(dim=0).to(statistic.dtype)


def projection_order(key: Key, T: int) -> Int[Tensor, "T others"]:
    """For each of T tasks the other tasks in random order, int64 [T, T - 1]; a function of the key and T."""
    draws = key.uniform(np.arange(T * T, dtype=np.uint64)).reshape(T, T)
    np.fill_diagonal(draws, 2.0)  # a task itself comes last, and is cut
    return torch.from_numpy(np.argsort(draws, axis=1, kind="stable")[:, : max(0, T - 1)].copy())
