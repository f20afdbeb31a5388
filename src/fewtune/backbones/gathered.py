"""Rows of a table by their numbers, differentiably and fast."""

from __future__ import annotations

from torch import Tensor


def gathered(table: Tensor, index: Tensor) -> Tensor:
    """table[index], [*index, ...] of a table [N, ...].

    On the CPU by `index_select`, which takes a seventh of the time of indexing forward and a third backward. Elsewhere by indexing, whose
    gradient on a GPU is the same in every run, which that of `index_select` is not.
    """
    if table.device.type != "cpu":
        return table[index]
    return table.index_select(0, index.reshape(-1)).view(*index.shape, *table.shape[1:])
