"""Multinomial logistic regression on the support rows, as `Logistic.fit` solves it for a fixed C: truncated Newton in their span.

The weight is W = A^T X, so that the logits of the support are Z = G A + b with G = X X^T. The gradient of
sum_i CE(Z)_i + |W|^2 / 2 C is X^T R with R = P - Y + A / C, and 1^T (P - Y) in b; its Hessian sends a direction X^T D, d to
X^T (M U + D / C), 1^T M U with U = G D + d and M = diag(p) - p p^T of each row. So every product needs G once, and no factor of it.
Arrays are [classes, rows], the rows padded with zeros to a multiple of eight.
"""

from __future__ import annotations

import numpy as np

from fewtune.compiled import compiled, reordered
from fewtune.parts.heads.kernels.gram import known_rows, products, weights
from fewtune.parts.heads.kernels.judging import Array

PRECISE = 1e-9  # as `newton.PRECISE`: the gradient's size, relative to that of its penalty part
STEPS, HALVINGS = 100, 30
EPS = float(np.finfo(np.float64).eps)


@compiled
def fit_logistic(
    table: Array,
    support: Array,
    label: Array,
    unit: bool,
    intercept: bool,
    C: float,
    absent: float,
    weight: Array,
    bias: Array,
    solved: Array,
) -> None:
    """`weight` [E, K, D] and `bias` [E, K], `absent` for a class without rows; `solved` [E]: whether the minimum was reached.

    `support` and `label` [E, S], -1 pads. Two present classes share one weight: C counts half.
    """
    S = support.shape[1]
    K, D = weight.shape[1:]
    wide = (S + 7) // 8 * 8
    X, mean, total, y = np.empty((S + 4, D)), np.empty(D), np.empty(D), np.empty(S, np.int64)
    G, place = np.zeros((S, wide)), np.empty(K, np.int64)
    for e in range(len(support)):
        n = known_rows(table, support[e], label[e], unit, intercept, X, y, mean)
        present = _places(y, n, place)
        G[:] = 0.0
        products(X, n, G)
        dual, b = np.zeros((present, wide)), np.zeros(present)
        for i in range(n):
            dual[place[y[i]], i] = 1.0
        solved[e] = _descend(G, n, dual, b, C / 2 if present == 2 else C, intercept)
        middle = b.sum() / max(present, 1)
        for k in range(K):
            if place[k] < 0:
                weight[e, k] = 0.0
                bias[e, k] = absent
                continue
            weights(dual[place[k] : place[k] + 1], X, n, 1.0, total, weight[e, k : k + 1])
            shift = 0.0
            for d in range(D):
                shift += weight[e, k, d] * mean[d]
            bias[e, k] = b[place[k]] - middle - shift if intercept else 0.0


@compiled
def _places(y: Array, n: int, place: Array) -> int:
    """The number of classes with rows; `place` [K] numbers them in order and is -1 for the others."""
    place[:] = -1
    for i in range(n):
        place[y[i]] = 0
    found = 0
    for k in range(len(place)):
        if place[k] == 0:
            place[k] = found
            found += 1
    return found


@compiled
def _descend(G: Array, n: int, Y: Array, b: Array, C: float, intercept: bool) -> bool:
    """From the one-hot labels `Y` to C (Y - P) at the minimum, in place, and `b`; whether it was reached."""
    K, wide = Y.shape
    shape = (K, wide)
    A, GA, P, T, R, GR = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    step, Gstep, to_b, step_b, tried = np.zeros(shape), np.zeros(shape), np.zeros(K), np.zeros(K), np.zeros(K)
    trace = float(n) if intercept else 0.0
    for i in range(n):
        trace += G[i, i]
    rounding = 8 * EPS * np.sqrt(trace)
    loss = _probabilities(GA, b, Y, n, P)
    reached = False
    for _ in range(STEPS):
        for k in range(K):
            to_b[k] = 0.0
            for i in range(n):
                R[k, i] = P[k, i] - Y[k, i]
                to_b[k] += R[k, i] if intercept else 0.0
                R[k, i] += A[k, i] / C
        _times(G, n, R, GR)
        norm = np.sqrt(max(_dot(R, GR, n), 0.0) + _dot1(to_b, to_b))
        pull = np.sqrt(max(_dot(A, GA, n), 0.0)) / C
        if norm <= max(PRECISE * pull, rounding):
            reached = True
            break
        tolerance = min(max(norm / max(norm + pull, rounding), 1e-6), 0.1)
        _newton_step(G, n, P, C, intercept, R, GR, to_b, tolerance, step, Gstep, step_b)
        slope = _dot(R, Gstep, n) + _dot1(to_b, step_b)
        if slope >= 0:
            break
        own, cross, second = _dot(A, GA, n), _dot(A, Gstep, n), _dot(step, Gstep, n)
        slack, length, found = 4 * EPS * (1 + abs(loss + own / (2 * C))), 1.0, False
        for _ in range(HALVINGS):
            for k in range(K):
                tried[k] = b[k] + length * step_b[k]
                for i in range(n):
                    T[k, i] = GA[k, i] + length * Gstep[k, i]
            at = _probabilities(T, tried, Y, n, P)
            if at + length * (2 * cross + length * second) / (2 * C) <= loss + 1e-4 * length * slope + slack:
                found = True
                break
            length /= 2
        if not found:
            break
        loss = at
        for k in range(K):
            b[k] = tried[k]
            for i in range(n):
                A[k, i] += length * step[k, i]
                GA[k, i] = T[k, i]
    for k in range(K):
        for i in range(n):
            Y[k, i] = C * (Y[k, i] - P[k, i])
    return reached


@compiled
def _newton_step(
    G: Array,
    n: int,
    P: Array,
    C: float,
    intercept: bool,
    R: Array,
    GR: Array,
    to_b: Array,
    tolerance: float,
    step: Array,
    Gstep: Array,
    step_b: Array,
) -> None:
    """Conjugate gradients for the Hessian's inverse times minus the gradient; rows and intercept are scaled by their mean curvature."""
    K, wide = P.shape
    shape = (K, wide)
    mild, trace = 0.0, 0.0
    for i in range(n):
        trace += G[i, i]
        for k in range(K):
            mild += P[k, i] * (1 - P[k, i])
    mild /= max(n * K, 1)
    by, by_b = 1 / (1 / C + mild * trace / max(n, 1)), 1 / max(mild * n, EPS)
    r, Gr, r_b, D, GD, d = -R, -GR, -to_b, -by * R, -by * GR, -by_b * to_b
    H, H_b = np.zeros(shape), np.zeros(K)
    step[:], Gstep[:], step_b[:] = 0.0, 0.0, 0.0
    size = by * _dot(r, Gr, n) + by_b * _dot1(r_b, r_b)
    wanted = tolerance * tolerance * size
    for _ in range(2 * (n + 1) * K + 10):
        if not size > wanted:
            break
        bend = _curved(P, GD, d, n, H) + _dot(D, GD, n) / C
        if not bend > 0:
            break
        length = size / bend
        for k in range(K):
            H_b[k] = 0.0
            for i in range(n):
                H_b[k] += H[k, i] if intercept else 0.0
                step[k, i] += length * D[k, i]
                Gstep[k, i] += length * GD[k, i]
                r[k, i] -= length * (H[k, i] + D[k, i] / C)
            step_b[k] += length * d[k]
            r_b[k] -= length * H_b[k]
        _times(G, n, r, Gr)
        grown = by * _dot(r, Gr, n) + by_b * _dot1(r_b, r_b)
        turn, size = grown / size, grown
        for k in range(K):
            for i in range(n):
                D[k, i] = by * r[k, i] + turn * D[k, i]
                GD[k, i] = by * Gr[k, i] + turn * GD[k, i]
            d[k] = by_b * r_b[k] + turn * d[k]


@compiled
def _probabilities(Z: Array, b: Array, Y: Array, n: int, P: Array) -> float:
    """P [K, :n] = softmax of Z + b over the classes; returns the sum of cross-entropies with one-hot `Y`."""
    K, loss = len(Z), 0.0
    for i in range(n):
        best = -np.inf
        for k in range(K):
            best = max(best, Z[k, i] + b[k])
        total = 0.0
        for k in range(K):
            P[k, i] = np.exp(Z[k, i] + b[k] - best)
            total += P[k, i]
        loss += np.log(total) + best
        for k in range(K):
            P[k, i] /= total
            loss -= Y[k, i] * (Z[k, i] + b[k])
    return loss


@reordered
def _curved(P: Array, GD: Array, d: Array, n: int, H: Array) -> float:
    """H = M U for U = GD + d; returns the inner product of U and H."""
    K, bend = len(P), 0.0
    for i in range(n):
        middle = 0.0
        for k in range(K):
            middle += P[k, i] * (GD[k, i] + d[k])
        for k in range(K):
            u = GD[k, i] + d[k]
            H[k, i] = P[k, i] * (u - middle)
            bend += u * H[k, i]
    return bend


@compiled
def _times(G: Array, n: int, R: Array, out: Array) -> None:
    """out [K, wide] = R [K, :n] G for a symmetric G [n, wide]."""
    wide = G.shape[1]
    for k in range(len(R)):
        row = out[k]
        row[:] = 0.0
        for j in range(n):
            value = R[k, j]
            for i in range(wide):
                row[i] += value * G[j, i]


@reordered
def _dot(a: Array, b: Array, n: int) -> float:
    total = 0.0
    for k in range(len(a)):
        for i in range(n):
            total += a[k, i] * b[k, i]
    return total


@reordered
def _dot1(a: Array, b: Array) -> float:
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
