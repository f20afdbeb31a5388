"""From every way of storing pixels to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from fewtune.data.sixteen import declared_top, scaled


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image.

    Grey is repeated in the three channels; CMYK, YCbCr and LAB are converted. Transparent parts (an alpha band, or a transparent colour or
    palette entry) become white. 16-bit integers are scaled by the bits that the picture uses (`sixteen.depth`): 0..4095 and 0..65535 both
    become 0..255. 32-bit integers that need more than 16 bits are stretched: the smallest value becomes 0, the largest 255. Floats in [0,
    1] are multiplied by 255, floats in [0, 255] are rounded, others are stretched; values that are not finite become 0.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image if type(image) is Image.Image else image.copy()
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(np.asarray(image), declared_top(image))).convert("RGB")
    if image.has_transparency_data or image.mode == "PA":
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # premultiplied grey: Pillow can only convert it to LA
        image = image.convert("LA")
    clear = image.convert("RGBA")
    paper = Image.new("RGBA", clear.size, (255, 255, 255, 255))
    paper.alpha_composite(clear)
    return paper.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any], declared: int | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535:
        return scaled(values, declared)
    finite = np.isfinite(values)
    real = np.where(finite, values, 0).astype(np.float64)
    low, high = (float(real[finite].min()), float(real[finite].max())) if finite.any() else (0.0, 0.0)
    if values.dtype.kind == "f" and low >= 0 and high <= 255:
        bright = real * 255 if high <= 1 else real
    else:
        bright = (real - low) * (255 / (high - low)) if high > low else np.zeros_like(real)
    return np.where(finite, np.rint(bright), 0).clip(0, 255).astype(np.uint8)
