"""How inputs are prepared: the model's own deterministic preprocessing, recorded and applied once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewtune.data.items import Item, Modality
from fewtune.data.row_space import Preparation
from fewtune.errors import InputError
from fewtune.spec import text as text_of

LARGEST = 8192  # pixels a side: more is a typing error
_MOST_RESIZED = 50_000_000  # pixels of a resized image, before its middle is cut out; a larger one was that large before
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@runtime_checkable
class Prepared(Preparation, Protocol):
    """A preparation with recorded settings: `text` is hashed into the key of every feature table."""

    @property
    def text(self) -> str: ...


@final
@dataclass(frozen=True, kw_only=True)
class ImagePreparation:
    """Resize, crop the middle, scale to [0, 1], subtract `mean` and divide by `std` (per channel, in units of [0, 1]).

    `resize` "short": the short side becomes `short` pixels, the long one in proportion (rounded down); "squash": the image becomes `short`
    pixels high and short * width / height pixels wide, whatever its shape. `height` x `width` pixels are then cut from the middle, whose
    position is rounded by `rounding`: "nearest" as in torchvision, or "floor" as in transformers. `grey`: one channel (ITU-R 601 luma).
    """

    height: int
    width: int
    short: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    resize: Literal["short", "squash"] = "short"
    rounding: Literal["nearest", "floor"] = "nearest"
    grey: bool = False

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise InputError(f"expected std above 0, found {min(self.std):g}.")
        if not 0 < min(self.height, self.width, self.short) <= max(self.height, self.width, self.short) <= LARGEST:
            raise InputError(f"expected images of 1 to {LARGEST} pixels a side, found {self.height} x {self.width} cut from {self.short}.")

    @property
    def modality(self) -> Modality:
        return "image"

    @property
    def text(self) -> str:
        return text_of(self)

    @property
    def size_hint(self) -> int:
        """The side in pixels that is needed; large photos are decoded at a smaller size, but with a margin above it."""
        return max(self.short, self.height, self.width)

    def prepare(self, item: Item) -> Tensor:
        """uint8 [C, height, width]."""
        assert isinstance(item, Image.Image)
        image = self._middle(self._resized(item))
        pixels = np.asarray(image.convert("L") if self.grey else image, dtype=np.uint8)
        return torch.from_numpy(pixels.copy() if pixels.ndim == 3 else pixels[..., None].copy()).permute(2, 0, 1)

    def batch(self, prepared: Sequence[Tensor]) -> Tensor:
        """float32 [B, C, height, width]: stacked, then normalised."""
        return self.normalise(self.stack(prepared))

    def stack(self, prepared: Sequence[Tensor], device: str = "cpu") -> Tensor:
        """float32 [B, C, height, width] in [0, 1], on a device: the input of a view."""
        # stacked as decoded, channels last: whole rows are copied, and convolutions are fastest in this layout
        pixels = torch.stack([p.permute(1, 2, 0) for p in prepared]).permute(0, 3, 1, 2)
        return pixels.to(device).to(torch.float32).div_(255.0)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(pixels - mean) / std, in place."""
        mean, std = (torch.tensor(v, dtype=torch.float32, device=pixels.device)[:, None, None] for v in (self.mean, self.std))
        return pixels.sub_(mean).div_(std)

    def _resized(self, image: Image.Image) -> Image.Image:
        if self.resize == "squash":
            wanted = (round(self.short * self.width / self.height), self.short)
        else:
            w, h = image.size
            wanted = (self.short, int(self.short * h / w)) if w <= h else (int(self.short * w / h), self.short)
        if wanted[0] * wanted[1] > max(_MOST_RESIZED, image.width * image.height):
            raise InputError(
                f"its {image.width:,} x {image.height:,} pixels are too long and narrow for this backbone: resized, they would be "
                f"{wanted[0]:,} x {wanted[1]:,}"
            )
        return image if image.size == wanted else image.resize(wanted, _RESAMPLE[self.interpolation])

    def _middle(self, image: Image.Image) -> Image.Image:
        """The middle `height` x `width`; a smaller image is padded with black."""
        w, h = image.size
        if (w, h) == (self.width, self.height):
            return image
        if w < self.width or h < self.height:
            left, top = (max(0, (want - have) // 2) for want, have in ((self.width, w), (self.height, h)))
            padded = Image.new("RGB", (max(w, self.width), max(h, self.height)))
            padded.paste(image, (left, top))
            image, (w, h) = padded, padded.size
        half = round if self.rounding == "nearest" else math.floor
        left, top = half((w - self.width) / 2.0), half((h - self.height) / 2.0)
        return image.crop((left, top, left + self.width, top + self.height))


def squashed(size: int, *, grey: bool) -> ImagePreparation:
    """The whole image as size x size pixels in [-0.5, 0.5]: the preparation of backbones without their own preprocessing."""
    channels = 1 if grey else 3
    return ImagePreparation(
        height=size,
        width=size,
        short=size,
        mean=(0.5,) * channels,
        std=(1.0,) * channels,
        interpolation="bilinear",
        resize="squash",
        grey=grey,
    )


@final
@dataclass(frozen=True, kw_only=True)
class VectorPreparation:
    """Embeddings as they are, in float32."""

    @property
    def modality(self) -> Modality:
        return "vector"

    @property
    def text(self) -> str:
        return text_of(self)

    def prepare(self, item: Item) -> Tensor:
        assert isinstance(item, np.ndarray)
        return torch.from_numpy(np.ascontiguousarray(item, dtype=np.float32))

    def batch(self, prepared: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(prepared))
