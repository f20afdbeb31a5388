"""The scale of an update: one convention for all aggregators, so that a learning rate that suits the mean loss suits every one of them.

`scale="mean"`, the default: the update is as long as that of `Mean`, whose weights are 1/T.
- Aggregators of losses: the weights sum to 1.
- Aggregators of a Gram matrix: |sum_i w_i g_i| = |mean_i g_i|, both read off the matrix at hand. Where the weighted gradients cancel each
  other to less than 1% of their lengths (a point where no task can gain without another's loss), the update shrinks as they cancel.

`scale="own"`: the weights as the paper (or its code) has them. `Fixed` always has its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Aggregator, Seen, State

CANCELLED = 0.01  # the least length of an update, as a share of the lengths of its parts, that is brought to the length of the mean


def weights_of(aggregator: Aggregator, seen: Seen, state: State) -> tuple[Tensor, State]:
    """The weights [T] of an aggregator at its scale, and the next state; NaN where gradients are not finite, so that it is noticed."""
    if aggregator.needs == "gram" and not bool(seen.inner.isfinite().all()):
        return torch.full_like(seen.losses, torch.nan), state
    weights, state = aggregator.weigh(seen, state)
    if aggregator.scale == "own":
        return weights, state
    return (weights / weights.sum() if aggregator.needs == "losses" else as_long_as_the_mean(weights, seen.inner)), state


def as_long_as_the_mean(weights: Tensor, gram: Tensor) -> Tensor:
    """Weights [T] times a positive number, such that sum_i w_i g_i has the length of the mean gradient."""
    lengths = gram.diagonal().clamp_min(0).sqrt()
    unit = lengths.max()
    if unit == 0:
        return weights
    parts = (weights.abs() * (lengths / unit)).sum()
    if parts == 0:
        return weights
    G, shares = gram / unit / unit, weights / parts
    even = torch.full_like(weights, 1 / len(weights))
    return shares * (_length(even, G) / _length(shares, G).clamp_min(CANCELLED))


def _length(weights: Tensor, gram: Tensor) -> Tensor:
    return (weights @ gram @ weights).clamp_min(0).sqrt()
