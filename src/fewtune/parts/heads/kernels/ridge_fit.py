"""Regularised least squares to the labels over the support rows, as `Ridge.fit` solves it for a fixed penalty."""

from __future__ import annotations

import numpy as np

from fewtune.compiled import compiled
from fewtune.parts.heads.kernels.gram import known_rows, products, weights
from fewtune.parts.heads.kernels.judging import Array


@compiled
def fit_ridge(
    table: Array,
    support: Array,
    label: Array,
    unit: bool,
    intercept: bool,
    penalty: float,
    scale: float,
    weight: Array,
    bias: Array,
    solved: Array,
) -> None:
    """`weight` [E, K, D] and `bias` [E, K] by (X X^T + penalty) A = Y, W = A^T X, both times `scale`; `solved` [E] is False where that
    matrix is not positive definite in float64. `support` and `label` [E, S], -1 pads."""
    S = support.shape[1]
    K, D = weight.shape[1:]
    X, mean, total, y = np.empty((S + 4, D)), np.empty(D), np.empty(D), np.empty(S, np.int64)
    G, A = np.empty((S, S)), np.empty((K, S))
    for e in range(len(support)):
        n = known_rows(table, support[e], label[e], unit, intercept, X, y, mean)
        products(X, n, G)
        for i in range(n):
            G[i, i] += penalty
        A[:] = 0.0
        for i in range(n):
            A[y[i], i] = 1.0
        for k in range(K):
            share = A[k, :n].sum() / max(n, 1) if intercept else 0.0
            bias[e, k] = scale * share
            for i in range(n):
                A[k, i] -= share
        solved[e] = _solve(G, n, A)
        weights(A, X, n, scale, total, weight[e])
        if intercept:
            for k in range(K):
                shift = 0.0
                for d in range(D):
                    shift += weight[e, k, d] * mean[d]
                bias[e, k] -= shift


@compiled
def _solve(G: Array, n: int, A: Array) -> bool:
    """A [K, :n] = A G^-1 for a symmetric G, by its Cholesky factor, which takes the place of its lower triangle."""
    for j in range(n):
        for i in range(j, n):
            left = G[i, j]
            for t in range(j):
                left -= G[i, t] * G[j, t]
            if i > j:
                G[i, j] = left / G[j, j]
            elif left > 0.0:
                G[j, j] = np.sqrt(left)
            else:
                return False
    for k in range(len(A)):
        a = A[k]
        for i in range(n):
            left = a[i]
            for t in range(i):
                left -= G[i, t] * a[t]
            a[i] = left / G[i, i]
        for i in range(n - 1, -1, -1):
            a[i] /= G[i, i]
            for t in range(i):
                a[t] -= G[i, t] * a[i]
    return True
