"""Which pixels a view shows: one affine map for each image, and one bilinear sampling.

A map [3, 3] maps a place in the view to the place in the image that it shows, both as (x, y, 1) with x and y from -1 (left and upper
edge) to 1. Maps are combined by a product: in `first @ second`, `second` is applied to the result of `first`.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewtune.data.examples import Integers
from fewtune.keys import Counters, Key

Maps: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]  # [B, 3, 3], or [3, 3]

_WIDEST = 4 / 3  # of a crop, width to height; the narrowest is its inverse


def flipped(images: Float[Tensor, "B C H W"], which: Integers) -> Float[Tensor, "B C H W"]:
    """Left and right exchanged in some of the images; no pixel is interpolated."""
    if not len(which):
        return images
    index = torch.from_numpy(which).to(images.device)
    return images.index_copy(0, index, images[index].flip(-1))


def crops(area: tuple[float, float], height: int, width: int, key: Key, counters: Counters) -> Maps:
    """Maps [B, 3, 3] to random boxes: share of the area uniform in `area`, aspect ratio log-uniform in 3/4..4/3, place uniform.

    Departs from RandomResizedCrop: the ratio is drawn from those that fit into the image, instead of ten tries, so that the area is
    uniform. If none fits, the box has a full side of the image.
    """
    share = area[0] + (area[1] - area[0]) * key.child("area").uniform(counters)
    shape = width / height
    # width^2 = share H W ratio <= W^2 and height^2 = share H W / ratio <= H^2
    low, high = np.maximum(1 / _WIDEST, share * shape), np.minimum(_WIDEST, shape / share)
    log = np.log(low) + (np.log(high) - np.log(low)) * key.child("ratio").uniform(counters)
    ratio = np.where(low < high, np.exp(log), np.where(low > _WIDEST, low, high))
    wide, tall = np.minimum(1.0, np.sqrt(share * ratio / shape)), np.minimum(1.0, np.sqrt(share * shape / ratio))
    maps = np.tile(np.eye(3), (len(counters), 1, 1))
    maps[:, 0, 0], maps[:, 1, 1] = wide, tall
    maps[:, 0, 2] = (2 * key.child("left").uniform(counters) - 1) * (1 - wide)
    maps[:, 1, 2] = (2 * key.child("top").uniform(counters) - 1) * (1 - tall)
    return maps


def turn(degrees: float, height: int, width: int) -> Maps:
    """Turned counter-clockwise about the middle."""
    cos, sin, shape = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), width / height
    return np.array([[cos, -sin / shape, 0], [sin * shape, cos, 0], [0, 0, 1]])


def shear_x(slope: float, height: int, width: int) -> Maps:
    """Each row shifted in proportion to its height above the middle, `slope` pixels to the right for one pixel."""
    return np.array([[1, slope * height / width, 0], [0, 1, 0], [0, 0, 1]])


def shear_y(slope: float, height: int, width: int) -> Maps:
    """Each column shifted in proportion to its place left of the middle, `slope` pixels down for one pixel."""
    return np.array([[1, 0, 0], [slope * width / height, 1, 0], [0, 0, 1]])


def shift(right: float, down: float) -> Maps:
    """Moved by shares of the width and of the height."""
    return np.array([[1, 0, -2 * right], [0, 1, -2 * down], [0, 0, 1]])


def sampled(images: Float[Tensor, "B C H W"], maps: Maps) -> Float[Tensor, "B C H W"]:
    """The views that the maps [B, 3, 3] give: bilinear, mirrored beyond the edges. An image whose map is the identity does not change."""
    which = np.flatnonzero((maps != np.eye(3)).any(axis=(1, 2)))
    if not len(which):
        return images
    height, width = images.shape[-2:]
    x = (torch.arange(width, device=images.device, dtype=images.dtype) * 2 + 1) / width - 1
    y = ((torch.arange(height, device=images.device, dtype=images.dtype) * 2 + 1) / height - 1)[:, None]
    # [6, b, 1, 1]: products of single numbers, not of matrices, so that no row depends on the number of rows
    a, b, c, d, e, f = torch.from_numpy(np.ascontiguousarray(maps[which, :2])).to(images).reshape(-1, 6).T[..., None, None]
    grid = torch.stack([a * x + b * y + c, d * x + e * y + f], dim=-1)
    index = torch.from_numpy(which).to(images.device)
    whole = len(which) == len(images)
    moving = (images if whole else images[index]).contiguous()
    found = functional.grid_sample(moving, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found if whole else images.index_copy(0, index, found)
