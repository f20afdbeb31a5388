"""Colour changes of images in [0, 1], C = 1 or 3 channels, with a different factor for each image.

Every function returns images [B, C, H, W] and does not change its input. The result of an image does not depend on the others: sums over
pixels use whole numbers, which are exact in any order.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601, rounded as torchvision does
_FINE = 2.0**20  # grey values are summed in steps of one over this


def brightness(images: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """factor x image: 0 is black."""
    return (images * _wide(factors)).clamp(0, 1)


def contrast(images: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """mean + factor x (image - mean), where mean is the mean of the grey image: 0 gives one grey."""
    steps = (_grey(images) * _FINE).round().to(torch.int64)
    mean = steps.sum(dim=(1, 2, 3), keepdim=True).to(torch.float64) / (_FINE * images.shape[-2] * images.shape[-1])
    return _blended(images, mean.to(images.dtype), factors)


def saturation(images: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """grey + factor x (image - grey): 0 gives the grey image. Images of one channel do not change."""
    return images if images.shape[1] == 1 else _blended(images, _grey(images), factors)


def sharpness(images: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """blurred + factor x (image - blurred): 0 gives the image blurred by (1 1 1; 1 5 1; 1 1 1) / 13. The pixels at the edges do not
    change.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 3:
        return images
    blurred = images.clone()
    inner = blurred[..., 1:-1, 1:-1]
    inner *= 4
    for i in range(3):
        for j in range(3):
            inner += images[..., i : height - 2 + i, j : width - 2 + j]
    inner /= 13
    return _blended(images, blurred, factors)


def posterize(images: Float[Tensor, "B C H W"], bits: int) -> Float[Tensor, "B C H W"]:
    """Only the highest `bits` (0 to 8) of the eight bits of each value."""
    lost = 1 << (8 - bits)
    return (_bytes(images) // lost * lost).to(images.dtype) / 255


def solarize(images: Float[Tensor, "B C H W"], threshold: float) -> Float[Tensor, "B C H W"]:
    """Values of at least `threshold` are inverted; values are in steps of 1 / 255."""
    return torch.where(_bytes(images) >= threshold, 1 - images, images)


def autocontrast(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Each channel is stretched to 0..1; a channel with a single value does not change."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1, high - low)).clamp(0, 1)


def equalize(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Each channel's values are replaced so that all are about equally frequent, on 8 bits.

    With counts n_v and s = floor((pixels - n_last) / 255), where last is the largest value present, a value v becomes
    floor((sum_{u < v} n_u + floor(s / 2)) / s), at most 255. If s = 0, the channel does not change. The same as in Pillow.
    """
    b, c, height, width = images.shape
    values = _bytes(images).reshape(b * c, height * width)
    counts = torch.zeros(b * c, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    last = counts.gather(1, values.amax(dim=1, keepdim=True))
    step = (height * width - last) // 255
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    found = (table.gather(1, values).to(images.dtype) / 255).view_as(images)
    return torch.where((step > 0).view(b, c, 1, 1), found, images)


def _wide(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]


def _blended(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    factor = _wide(factors)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    """[B, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    return images[:, 0:1] * _LUMA[0] + images[:, 1:2] * _LUMA[1] + images[:, 2:3] * _LUMA[2]


def _bytes(images: Tensor) -> Tensor:
    """The nearest of 256 values, as integers 0 to 255."""
    return (images * 255).round().to(torch.int64)
