"""The preparation of images as a network, so that an exported file resizes and crops by itself, to the same bytes as Pillow.

Pillow resizes in two passes, along the width and then along the height; from version 13 on the other way round where the height shrinks
by more than twice as many pixels as the width. Each pass is a product with a matrix of whole numbers (weights times 2^22), rounded back
to bytes; products of whole numbers are exact in float64, so the result is the same on every machine.

Reference: Pillow's `src/libImaging/Resample.c`; the order of the passes was found by trying (pull request 9549 of Pillow).
"""

from __future__ import annotations

import math
from typing import final

import PIL
import torch
from torch import Tensor, nn

from fewtune.backbones.preparation import ImagePreparation

_ONE = float(1 << 22)  # Pillow's PRECISION_BITS
_REACH = {"nearest": 0.0, "bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # how far a filter reaches, in pixels of the smaller image
_HEIGHT_FIRST = 13  # the version of Pillow that sometimes takes the height first
_LUMA = (19595.0, 38470.0, 7471.0)  # ITU-R 601 times 2^16, as Pillow has it


@final
class Pixels(nn.Module):
    """uint8 [N, H, W, 3] of any one size to float32 [N, C, height, width] in 0..255: what `ImagePreparation.prepare` gives."""

    def __init__(self, preparation: ImagePreparation) -> None:
        super().__init__()
        self.preparation = preparation
        self.sometimes_height_first = int(PIL.__version__.split(".")[0]) >= _HEIGHT_FIRST

    def forward(self, pixels: Tensor) -> Tensor:
        p = self.preparation
        height, width = _length(pixels[0, :, 0, 0]), _length(pixels[0, 0, :, 0])
        if p.resize == "squash":
            tall, wide = torch.tensor(p.short), torch.tensor(round(p.short * p.width / p.height))
        else:
            upright = width <= height
            tall = torch.where(upright, p.short * height // width, p.short)
            wide = torch.where(upright, p.short, p.short * width // height)
        columns = self._weights(pixels[0, 0, :, 0], width, wide, p.width)
        rows = self._weights(pixels[0, :, 0, 0], height, tall, p.height)
        planes = pixels.permute(0, 3, 1, 2).to(torch.float64)
        if self.sometimes_height_first and p.interpolation != "nearest":
            height_first = (tall < height) & (height - tall > 2 * (width - wide))
            made: Tensor = torch.cond(height_first, _height_first, _width_first, (planes, columns, rows))
        else:
            made = _width_first(planes, columns, rows)
        if p.grey:
            made = torch.floor((made * torch.tensor(_LUMA, dtype=torch.float64)[:, None, None]).sum(1, keepdim=True) / 65536 + 0.5)
        return made.to(torch.float32)

    def _weights(self, line: Tensor, size: Tensor, resized: Tensor, wanted: int) -> Tensor:
        """Whole numbers [wanted, size]: how much each pixel of a line counts for those that remain in the end."""
        p = self.preparation
        spare = resized - wanted
        half = (
            torch.round(spare.to(torch.float64) / 2).to(torch.int64)
            if p.rounding == "nearest"
            else torch.div(spare, 2, rounding_mode="floor")
        )
        first = torch.where(spare < 0, -torch.div(-spare, 2, rounding_mode="floor"), half)
        place = torch.arange(wanted) + first
        inside = (place >= 0) & (place < resized)  # the rest is black
        scale = size.to(torch.float64) / resized
        centre = ((place.to(torch.float64) + 0.5) * scale)[:, None]
        at = torch.arange(line.shape[0]).to(torch.float64)[None]
        if p.interpolation == "nearest":
            return ((at == torch.floor(centre)) & inside[:, None]).to(torch.float64) * _ONE
        stretch = scale.clamp(min=1.0)
        reach = _REACH[p.interpolation] * stretch
        first_pixel, last = torch.floor(centre - reach + 0.5), torch.floor(centre + reach + 0.5)
        weights = _filter((at - centre + 0.5) / stretch, p.interpolation)
        weights = torch.where((at >= first_pixel) & (at < last) & inside[:, None], weights, 0.0)
        whole = weights / weights.sum(1, keepdim=True).where(inside[:, None], 1.0) * _ONE
        return torch.trunc(whole + torch.where(whole < 0, -0.5, 0.5))


def _width_first(planes: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    return _bytes(rows @ _bytes(planes @ columns.T))


def _height_first(planes: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    return _bytes(_bytes(rows @ planes) @ columns.T)


def _length(line: Tensor) -> Tensor:
    """How many pixels a line has, as a tensor: the size of the picture is not known when the graph is written."""
    return torch.arange(line.shape[0])[-1] + 1


def _filter(x: Tensor, interpolation: str) -> Tensor:
    """Pillow's filters of the distance in pixels."""
    x = x.abs()
    if interpolation == "bilinear":
        return (1 - x).clamp(min=0)
    if interpolation == "bicubic":
        a = -0.5
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    angle = x * math.pi
    safe = torch.where(x == 0, 1.0, angle)
    waves = torch.where(x == 0, 1.0, torch.sin(safe) / safe * (torch.sin(safe / 3) / (safe / 3)))
    return torch.where(x < 3, waves, 0.0)


def _bytes(sums: Tensor) -> Tensor:
    """Sums of bytes times whole weights, rounded to bytes."""
    return torch.floor((sums + _ONE / 2) / _ONE).clamp(0, 255)
