"""PcGrad: gradients that conflict are projected off each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fewtune.keys import Key
from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class PcGrad:
    """For each task i, over the others j in random order: if g'_i . g_j < 0 then g'_i -= (g'_i . g_j) / ||g_j||^2 g_j; the update is
    the **sum** of the g'_i (with `scale="mean"`, brought to the length of the mean). g'_i starts at g_i, and g_j is the original one
    throughout.

    Exact from the Gram matrix alone, G = (g_i . g_j): with g'_i = sum_k C[i, k] g_k, g'_i . g_j = (C G)[i, j], a projection subtracts
    (C G)[i, j] / G[j, j] from C[i, j], and w = C summed over i. All tasks go through their orders at once: T - 1 steps of T x T numbers.
    Without conflict w = 1, the plain sum; a task whose gradient is zero conflicts with none. The order is a function of the step's key
    and of the tasks' numbers (`projection_order`).

    Reference: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020 (algorithm 1). Departs: the authors' code shuffles a list
    that it then does not use, so its order never changes, and a well-known port averages instead of summing; `scale="own"` follows the
    paper.
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
        G = seen.inner
        C, rows, squares = torch.eye(len(G), dtype=G.dtype), torch.arange(len(G)), G.diagonal()
        for j in projection_order(seen.key, seen.tasks).unbind(dim=1):
            inner = (C * G[j]).sum(dim=1)
            conflict = (inner < 0) & (squares[j] > 0)
            C[rows, j] -= torch.where(conflict, inner / squares[j], 0.0)
        return C.sum(dim=0), state


def projection_order(key: Key, tasks: Int[Tensor, " T"]) -> Int[Tensor, "T others"]:
    """For each of T tasks the places of the others in random order, int64 [T, T - 1]; a function of the key and the tasks' numbers."""
    ids = tasks.numpy().astype(np.uint64)
    draws = key.child("order").uniform((ids[:, None] << np.uint64(32)) + ids)
    np.fill_diagonal(draws, 2.0)  # a task itself comes last, and is cut
    return torch.from_numpy(np.argsort(draws, axis=1, kind="stable")[:, : max(0, len(ids) - 1)].copy())
