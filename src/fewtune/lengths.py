"""Lengths of features, and features of length 1."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-12  # features shorter than this count as zero


def lengths(features: Tensor) -> Tensor:
    """|f| for features [..., D], as [..., 1]; infinite where |f| < 1e-12.

    So x / lengths(x) is the unit vector of x, and zero where x is zero. There x / |x| has no derivative: 0 is taken, to every order. In
    float32 lengths are right up to about 1e19.
    """
    norms: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    zero = norms < TINY
    if torch.is_grad_enabled() and features.requires_grad:
        # a norm of 0 sends NaN into second derivatives, also where its result is masked; so the row is replaced before
        norms = torch.linalg.vector_norm(features.masked_fill(zero, 1.0), dim=-1, keepdim=True)
    return norms.masked_fill(zero, torch.inf)


def unit(features: Tensor) -> Tensor:
    """Features [..., D] of length 1; those shorter than 1e-12 become zero, with a derivative of 0."""
    return features / lengths(features)
