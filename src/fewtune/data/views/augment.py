"""Views of images: batched kernels for CPU and GPU, with different parameters for each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.data.views.blocks import shuffled
from fewtune.data.views.colours import brightness, contrast, saturation
from fewtune.data.views.filters import changed
from fewtune.data.views.geometry import crops, flipped, sampled
from fewtune.data.views.rand import colours, draw, moves
from fewtune.data.views.views import Augment, BlockShuffle, Identity, InOrder, MaskWords, View
from fewtune.errors import InputError
from fewtune.keys import Counters, Key


def augment(view: View, images: Float[Tensor, "B C H W"], rows: Integers, key: Key) -> Float[Tensor, "B C H W"]:
    """The images in [0, 1], C = 1 or 3, changed by `view`; the input is not changed.

    `rows` [B] are rows of the row space. The random draws depend only on them and on the `key` of (seed, step, role, copy), so a row looks
    the same in any batch (bit for bit on one machine). An image that is not changed keeps its very pixels.
    """
    if isinstance(view, InOrder):
        for place, part in enumerate(view.views):
            images = augment(part, images, rows, key.child("part", place))
        return images
    if isinstance(view, Identity):
        return images
    if isinstance(view, BlockShuffle):
        return shuffled(view, images)
    if isinstance(view, MaskWords):
        raise InputError(f"{view} is for texts, and these are photos: give another view.")
    counters = np.asarray(rows).astype(np.uint64)
    return _augmented(view, images, counters, key) if isinstance(view, Augment) else changed(view, images, counters, key)


def _augmented(view: Augment, images: Tensor, counters: Counters, key: Key) -> Tensor:
    """Flip, crop, RandAugment and colour jitter.

    An image that is not moved is not resampled. All geometry is one affine map and one bilinear sampling. Beyond its edges the image is
    mirrored, because black corners
    would influence autocontrast and equalize. Departs: the crop is cut from the prepared image, not from the original, and its sides need
    not be whole pixels; RandAugment's geometry comes before its colours in any case, and can show parts outside the crop; the order of
    colour jitter is fixed.
    """
    height, width = images.shape[-2:]
    drawn = draw(view.rand_ops, key, counters)
    if view.flip:
        images = flipped(images, np.flatnonzero(key.child("flip").uniform(counters) < 0.5))
    maps = np.broadcast_to(np.eye(3), (len(counters), 3, 3))
    if view.crop is not None:
        maps = crops(view.crop, height, width, key.child("crop"), counters)
    for stage in drawn:
        maps = maps @ moves(stage, view.magnitude, height, width)
    images = sampled(images, maps)
    if view.colour > 0:
        images = _jittered(images, view.colour, key.child("colour"), counters)
    for stage in drawn:
        images = colours(images, stage, view.magnitude)
    return images


def _jittered(images: Tensor, strength: float, key: Key, counters: Counters) -> Tensor:
    """Brightness, contrast and saturation, each by a factor uniform in [max(0, 1 - strength), 1 + strength]."""
    low, high = max(0.0, 1 - strength), 1 + strength
    for change in (brightness, contrast, saturation):
        factors: np.ndarray[Any, Any] = low + (high - low) * key.child(change.__name__).uniform(counters)
        images = change(images, torch.from_numpy(factors).to(images))
    return images
