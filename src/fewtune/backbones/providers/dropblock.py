"""DropBlock with keys: what is dropped in a row depends only on the noise of that row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

_GOLDEN, _FIRST, _SECOND = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))  # as int64


def drop_blocks(features: Tensor, noise: Tensor, rate: float, *, layer: int, block: int = 5) -> Tensor:
    """Features [B, C, H, W] with squares of block x block places set to zero in each channel; the rest is scaled up to keep the mean.

    `noise` [B]: one int64 for each row, random bits that the caller derives from (seed, step, row). `rate`: about the share of places that
    is dropped. `layer`: a number that differs between the uses in one network. A block is never wider than the features.

    Reference: Ghiasi, Lin, Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018. Departs: the scale is taken
    over each row instead of the batch, so that a row does not depend on its neighbours.
    """
    channels, height, width = features.shape[1:]
    block = min(block, height, width)
    tall, wide = height - block + 1, width - block + 1
    seeds = rate * (height * width) / (block**2 * tall * wide)  # the probability that a place is the corner of a block
    draws = _uniform(noise, channels * tall * wide, first=layer << 32).view(-1, channels, tall, wide)
    corners = (draws < seeds).to(features.dtype)
    dropped = max_pool2d(pad(corners, [block - 1] * 4), block, stride=1)
    kept = 1 - dropped
    return features * kept / kept.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)


def _uniform(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """Floats [B, count] in [0, 1) of 24 random bits: counters from `first` on hashed with each row's key, as fewtune.keys does."""
    mixed = torch.arange(first, first + count, device=keys.device) * _GOLDEN + keys[:, None]  # int64 wraps around
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 40).to(torch.float32) * 2.0**-24


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Bits shifted right, filled with zeros."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
