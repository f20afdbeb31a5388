"""Small convex problems of T x T numbers, solved to rounding in NumPy: what gradient methods ask of a Gram matrix.

Gradients may differ 10,000-fold in length, so every problem is solved for unit gradients, R = S^-1 G S^-1 with S the lengths.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

RIDGE = 1e-12  # is added to the diagonal of R: gradients that cancel or repeat leave it singular
_LIMIT = 200  # Newton steps; 10 to 20 are usual


def unit_gram(gram: Tensor) -> tuple[Array, Array, Any]:
    """(R of the tasks whose gradient is not zero, their lengths S, which they are [T])."""
    G = gram.numpy()
    square = np.diag(G)
    moving = square > 0
    lengths = np.sqrt(square[moving])
    return G[np.ix_(moving, moving)] / lengths[:, None] / lengths, lengths, moving


def non_negative(R: Array, c: Array) -> Array:
    """argmin over v >= 0 of v'Rv / 2 + c'v, R positive semidefinite with a diagonal of ones.

    An active set, as in Lawson and Hanson, "Solving least squares problems", 1974, chapter 23: exact after finitely many steps.
    """
    R = R + RIDGE * np.eye(len(R))
    v, free = np.zeros(len(R)), np.zeros(len(R), dtype=bool)
    least = -1e-13 * max(1e-300, float(np.abs(c).max(initial=0.0)))
    for _ in range(10 * len(R)):
        slope = np.where(free, 0.0, R @ v + c)
        if slope.min(initial=0.0) >= least:
            break
        free[slope.argmin()] = True
        for _ in range(len(R) + 1):
            wanted = np.zeros(len(R))
            wanted[free] = np.linalg.solve(R[np.ix_(free, free)], -c[free])
            over = free & (wanted <= 0)
            if not over.any():
                v = wanted
                break
            fractions = np.where(over, v / np.where(over, v - wanted, 1.0), 1.0)
            v = v + fractions.min() * (wanted - v)
            free &= ~(over & (fractions <= fractions.min()))
            v[~free] = 0.0
    return v


def min_norm(G: Array) -> Array:
    """argmin over a >= 0, sum_i a_i = 1, of a'Ga: the shortest convex combination of gradients.

    G y = 1 where y > 0 has the same direction, so it is one problem without the equation. G has no gradient of zero.
    """
    lengths = np.sqrt(np.diag(G))
    short = lengths.min()
    y = non_negative(G / lengths[:, None] / lengths, -short / lengths) * (short / lengths)
    found: Array = y / y.sum()
    return found


def balanced(R: Array, c: Array, power: float) -> Array:
    """z > 0 with R z = c z^-power: Newton's method on the convex function z'Rz / 2 - sum_i c_i z_i^(1 - power) / (1 - power)
    (log z_i where power is 1), halving steps until it falls."""
    R = R + RIDGE * np.eye(len(R))

    def value(z: Array) -> float:
        gain = np.log(z) if power == 1 else z ** (1 - power) / (1 - power)
        return float(z @ R @ z / 2 - c @ gain)

    z = c ** (1 / (1 + power))
    for _ in range(_LIMIT):
        slope = R @ z - c * z**-power
        if np.abs(slope * z**power / c).max() < 1e-13:
            break
        move = np.linalg.solve(R + np.diag(power * c * z ** (-power - 1)), -slope)
        size = min(1.0, 0.99 / max(1e-300, float((-move / z).max())))
        here, fall = value(z), float(slope @ move)
        while -fall > 1e-9 * abs(here) and size > 1e-12 and not value(z + size * move) <= here + 1e-4 * size * fall:
            size /= 2  # near the end differences of values are rounding, and whole steps are right
        z = z + size * move
    return z
