"""The known support rows of an episode, and what regressions in their span share: products of rows, and weights from duals."""

from __future__ import annotations

import numpy as np

from fewtune.compiled import compiled, reordered, wide
from fewtune.parts.heads.kernels.judging import Array, over, squared


@compiled
def known_rows(table: Array, rows: Array, label: Array, unit: bool, centre: bool, X: Array, y: Array, mean: Array) -> int:
    """How many rows n are known (their label is not -1): `X` [:n] holds them in float64, unit vectors where `unit`, less `mean` where
    `centre`, and `y` [:n] their labels. The rows of X up to the next multiple of four are zero."""
    n, D = 0, table.shape[1]
    mean[:] = 0.0
    for s in range(len(rows)):
        if label[s] < 0:
            continue
        y[n] = label[s]
        x, by = table[max(rows[s], 0)], np.float32(1)
        if unit:
            by = over(squared(x))
        if rows[s] < 0:
            by = np.float32(0)
        for d in range(D):
            X[n, d] = by * wide(x[d])
            mean[d] += X[n, d]
        n += 1
    for d in range(D):
        mean[d] = mean[d] / max(n, 1) if centre else 0.0
    for i in range(n):
        for d in range(D):
            X[i, d] -= mean[d]
    X[n : n + 3] = 0.0
    return n


@reordered
def products(X: Array, n: int, G: Array) -> None:
    """G [:n, :n] = X X^T; every entry is the sum of its own products in the same order, so equal rows give equal entries."""
    D = X.shape[1]
    for i in range(n):
        for first in range(0, i + 1, 4):
            s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
            for d in range(D):
                value = X[i, d]
                s0 += value * X[first, d]
                s1 += value * X[first + 1, d]
                s2 += value * X[first + 2, d]
                s3 += value * X[first + 3, d]
            G[i, first] = s0
            if first + 1 < n:
                G[i, first + 1] = s1
            if first + 2 < n:
                G[i, first + 2] = s2
            if first + 3 < n:
                G[i, first + 3] = s3
    for i in range(n):
        for j in range(i):
            G[j, i] = G[i, j]


@compiled
def weights(dual: Array, X: Array, n: int, by: float, total: Array, weight: Array) -> None:
    """weight [K, D] = by x dual [K, :n] X [:n]; `total` [D] is room to sum in."""
    D = X.shape[1]
    for k in range(len(dual)):
        total[:] = 0.0
        for first in range(0, n, 4):
            a0 = dual[k, first]
            a1 = dual[k, first + 1] if first + 1 < n else 0.0
            a2 = dual[k, first + 2] if first + 2 < n else 0.0
            a3 = dual[k, first + 3] if first + 3 < n else 0.0
            for d in range(D):
                total[d] += a0 * X[first, d] + a1 * X[first + 1, d] + a2 * X[first + 2, d] + a3 * X[first + 3, d]
        for d in range(D):
            weight[k, d] = by * total[d]
