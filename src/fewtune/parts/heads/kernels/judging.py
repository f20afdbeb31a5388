"""Logits, answer and loss of linear heads in one pass over the queries: gather, product, largest logit and cross-entropy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from fewtune.compiled import compiled, prefetch, reordered, wide

Array: TypeAlias = np.ndarray[Any, Any]

AHEAD = 4  # rows that are asked for before their turn
LINE = 64  # bytes of a cache line
TINY = np.float32(1e-12)  # as `fewtune.lengths.TINY`


@compiled
def judge(
    table: Array,
    query: Array,
    label: Array,
    classes: Array,
    weight: Array,
    bias: Array,
    unit: bool,
    scale: Any,
    accuracy: Array,
    loss: Array,
    right: Array,
) -> None:
    """Logits scale x (weight . f + bias) of query rows f, unit vectors where `unit`; mean accuracy and loss [E] and `right` [E, Q].

    `table` [N, D] float32 or the bits of bfloat16, `query` and `label` [E, Q] (-1 pads), `classes` [E, K] (-1 pads), `weight` [E, K, D],
    `bias` [E, K]. Ties go to the first class. Classes are taken five at a time, all in the same way, so that equal weights give equal
    logits.
    """
    count, queries = query.shape
    K, D = weight.shape[1:]
    blocks = (K + 4) // 5
    flat, rows = table.reshape(-1), query.reshape(-1)
    w = np.zeros((5 * blocks, D), np.float32)
    z = np.zeros(5 * blocks, np.float32)
    for e in range(count):
        w[:K] = weight[e]
        hits, asked, total = 0, 0, 0.0
        for q in range(queries):
            ask_for(flat, rows, e * queries + q + AHEAD, D)
            right[e, q] = False
            true = label[e, q]
            if true < 0:
                continue
            square = _products(table[query[e, q]], w, z)
            by = np.float32(1)
            if unit:
                by = over(square)
            best, place = np.float32(-np.inf), 0
            for k in range(K):
                z[k] = scale * (by * z[k] + bias[e, k])
                if z[k] > best and classes[e, k] >= 0:
                    best, place = z[k], k
            summed = np.float32(0)
            for k in range(K):
                if classes[e, k] >= 0:
                    summed += np.exp(z[k] - best)
            total += np.log(summed) + (best - z[true])
            asked += 1
            if place == true:
                hits += 1
                right[e, q] = True
        accuracy[e] = hits / max(asked, 1)
        loss[e] = total / max(asked, 1)


@compiled
def ask_for(flat: Array, rows: Array, place: int, D: int) -> None:
    """The row rows[place] of a flat table is brought to the cache, if there is such a place."""
    if place < rows.size and rows[place] > 0:
        step = LINE // flat.itemsize
        for at in range(rows[place] * D, (rows[place] + 1) * D, step):
            prefetch(flat, at)


@compiled
def over(square: float) -> Any:
    """1 / |x| of a row with |x|^2 = square; 0 where it counts as zero."""
    length = np.sqrt(square)
    return np.float32(1) / length if length >= TINY else np.float32(0)


@reordered
def squared(x: Array) -> Any:
    """|x|^2."""
    total = np.float32(0)
    for d in range(len(x)):
        total += wide(x[d]) * wide(x[d])
    return total


@reordered
def _products(x: Array, w: Array, z: Array) -> Any:
    """z = w x for w [5 B, D]; returns |x|^2."""
    square = np.float32(0)
    for first in range(0, len(w), 5):
        w0, w1, w2, w3, w4 = w[first], w[first + 1], w[first + 2], w[first + 3], w[first + 4]
        s0, s1, s2, s3, s4 = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        own = np.float32(0)
        for d in range(len(x)):
            value = wide(x[d])
            s0 += value * w0[d]
            s1 += value * w1[d]
            s2 += value * w2[d]
            s3 += value * w3[d]
            s4 += value * w4[d]
            own += value * value
        z[first], z[first + 1], z[first + 2], z[first + 3], z[first + 4] = s0, s1, s2, s3, s4
        square = own
    return square
