"""CaGrad: the update near the mean gradient that is best for the worst task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.solvers import Array, min_norm

LEAST = 1e-9  # of rho that is looked at
CANCEL = 1e4  # the gradients of g_w add up to at most so many times the radius: where they cancel further, it is rounding that is left


@final
@dataclass(frozen=True, kw_only=True)
class CaGrad:
    """d = argmax_d min_i g_i . d where |d - g_0| <= c |g_0|, g_0 the mean gradient: d = g_0 + c |g_0| g_w / |g_w|, where w (w >= 0, sum 1)
    minimises g_w . g_0 + c |g_0| |g_w|. `c` in [0, 1): 0 is the mean.

    Solved exactly: for a given length rho = |g_w| / (c |g_0|), w are the weights of the shortest convex combination of the gradients
    g_i + rho g_0, and rho is the root of one equation. With `scale="own"` the update is d / (1 + c^2), as in the authors' code
    (TorchJD and the paper do not divide); one task alone then weighs (1 + c) / (1 + c^2), a declared exception to the axis' law.

    Reference: Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021.
    """

    c: float = 0.5
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_reading(self)
        if not 0 <= self.c < 1:
            raise InputError(f"c of CaGrad is the radius around the mean gradient as a share of its length, in [0, 1), found {self.c!r}.")

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        G = seen.inner.numpy()
        even = np.full(len(G), 1 / len(G))
        most = float(np.diag(G).max())
        extra = self._worst_case(G / most, even) if most > 0 else np.zeros(len(G))
        return torch.from_numpy((even + extra) / (1 + self.c**2)), state

    def _worst_case(self, G: Array, even: Array) -> Array:
        """c |g_0| / |g_w| w [T], for gradients of lengths of at most 1."""
        from scipy.optimize import brentq

        products = G @ even
        square = float(even @ products)
        radius = self.c * float(np.sqrt(max(square, 0.0)))
        if radius == 0:
            return np.zeros(len(G))

        def shifted(rho: float) -> Array:
            H = G + rho * (products[:, None] + products) + rho**2 * square
            return min_norm(H) if (np.diag(H) > 0).all() else even

        def beyond(rho: float) -> float:
            w = shifted(rho)
            return float(np.sqrt(max(float(w @ G @ w), 0.0))) - radius * rho

        high = 1.001 / radius
        low = high / 10
        while beyond(low) <= 0 and low > LEAST:  # from above: near 0 rounding decides the sign
            low, high = low / 10, low
        rho = brentq(beyond, low, high, xtol=1e-300, rtol=1e-13) if beyond(low) > 0 > beyond(high) else low
        w = shifted(rho)
        found: Array = w * min(1 / rho, CANCEL * radius / max(1e-300, float(w @ np.sqrt(np.diag(G)))))
        return found
