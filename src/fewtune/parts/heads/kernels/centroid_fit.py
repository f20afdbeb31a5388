"""Class means of the support rows, as `Centroid.fit` takes them."""

from __future__ import annotations

import numpy as np

from fewtune.compiled import compiled, wide
from fewtune.parts.heads.kernels.judging import AHEAD, Array, ask_for, over, squared


@compiled
def fit_centroids(table: Array, support: Array, label: Array, unit_rows: bool, cosine: bool, weight: Array, bias: Array) -> None:
    """`weight` [E, K, D] and `bias` [E, K] of the nearest class mean; `support` and `label` [E, S], -1 pads.

    `unit_rows`: means of unit vectors. `cosine`: the means as unit vectors; otherwise the linear form of squared distances.
    """
    S, D = support.shape[1], table.shape[1]
    flat, rows = table.reshape(-1), support.reshape(-1)
    for e in range(len(support)):
        w, b = weight[e], bias[e]
        members = np.zeros(len(w), np.int64)
        w[:] = np.float32(0)
        b[:] = np.float32(0)
        for s in range(S):
            ask_for(flat, rows, e * S + s + AHEAD, D)
            k = label[e, s]
            if k < 0:
                continue
            members[k] += 1
            if support[e, s] < 0:
                continue
            x, by = table[support[e, s]], np.float32(1)
            if unit_rows:
                by = over(squared(x))
            for d in range(D):
                w[k, d] += by * wide(x[d])
        for k in range(len(w)):
            w[k] *= np.float32(1) / np.float32(max(members[k], 1))
            if cosine:
                w[k] *= over(squared(w[k]))
        if not cosine:
            _centre(w, b, members)


@compiled
def _centre(w: Array, b: Array, members: Array) -> None:
    """Means p_c as the form 2 (p_c - m) . f - (|p_c|^2 - |m|^2), m being their mean; nothing for classes without rows."""
    D, present = w.shape[1], 0
    middle = np.zeros(D, np.float32)
    for k in range(len(w)):
        if members[k]:
            present += 1
            middle += w[k]
    middle *= np.float32(1) / np.float32(max(present, 1))
    for k in range(len(w)):
        square = np.float32(0)
        for d in range(D):
            away = w[k, d] - middle[d] if members[k] else np.float32(0)
            square += away * (away + np.float32(2) * middle[d])
            w[k, d] = np.float32(2) * away
        b[k] = -square
