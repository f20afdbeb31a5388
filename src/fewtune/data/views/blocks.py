"""Blocks of an image in another order: one permutation for all images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.data.views.views import BlockShuffle
from fewtune.keys import key


def block_order(size: int, height: int, width: int, seed: int = 0) -> Integers:
    """Which block [rows x columns] stands at each place, of blocks of `size` x `size` pixels that fit into height x width.

    A function of (seed, rows, columns) alone. Where there are two blocks or more, it is not the identity.
    """
    rows, columns = height // size, width // size
    count = rows * columns
    order = np.argsort(key(seed, "block shuffle", rows, columns).uniform(np.arange(count, dtype=np.uint64)), kind="stable")
    return np.roll(order, 1) if count > 1 and (order == np.arange(count)).all() else order


def shuffled(view: BlockShuffle, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The images with their blocks in another order; what does not fill a block at the right and lower edge stays where it is."""
    size = view.size
    height, width = images.shape[-2:]
    rows, columns = height // size, width // size
    if rows * columns < 2:
        return images
    order = torch.from_numpy(block_order(size, height, width, view.seed)).to(images.device)
    count, channels = images.shape[:2]
    inside = images[..., : rows * size, : columns * size].reshape(count, channels, rows, size, columns, size)
    blocks = inside.transpose(3, 4).reshape(count, channels, rows * columns, size, size)
    moved = blocks[:, :, order].reshape(count, channels, rows, columns, size, size).transpose(3, 4)
    found = images.clone()
    found[..., : rows * size, : columns * size] = moved.reshape(count, channels, rows * size, columns * size)
    return found
