"""Shifts of the input: images with noise, blur, less contrast, ... at five severities, and with shuffled blocks.

Reference: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019 (the names
and strengths, for images of 224 pixels). Departs: lengths in pixels are relative to the short side, so that images of any size are changed
alike; the blur is Gaussian.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from fewtune.data.examples import Examples
from fewtune.data.shifts.changed import Pixels, changed
from fewtune.data.views.views import BlockShuffle
from fewtune.errors import InputError, unknown
from fewtune.keys import key
from fewtune.spec import text

_USUAL = 224  # the side that the strengths were chosen for
Floats = np.ndarray[Any, np.dtype[np.float64]]


def _gaussian_noise(x: Floats, severity: int, random: np.random.Generator) -> Floats:
    return x + (0.08, 0.12, 0.18, 0.26, 0.38)[severity] * random.standard_normal(x.shape)


def _shot_noise(x: Floats, severity: int, random: np.random.Generator) -> Floats:
    photons = (60, 25, 12, 5, 3)[severity]
    return np.asarray(random.poisson(x * photons) / photons)


def _impulse_noise(x: Floats, severity: int, random: np.random.Generator) -> Floats:
    drawn = random.random(x.shape)
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity]
    return np.asarray(np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, x)))


def _contrast(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    mean = x.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + (0.4, 0.3, 0.2, 0.1, 0.05)[severity] * (x - mean))


def _brightness(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    return x + (0.1, 0.2, 0.3, 0.4, 0.5)[severity]


def _darkness(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    return x - (0.1, 0.2, 0.3, 0.4, 0.5)[severity]


def _saturation(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.asarray(grey + (0.3, 0.1, 2.0, 5.0, 20.0)[severity] * (x - grey))


def _blur(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    radius = (1, 2, 3, 4, 6)[severity] * min(x.shape[:2]) / _USUAL
    return np.asarray(_image(x).filter(ImageFilter.GaussianBlur(radius))) / 255


def _pixelate(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity]
    image = _image(x)
    small = image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST)) / 255


def _jpeg(x: Floats, severity: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    stream = io.BytesIO()
    _image(x).save(stream, format="JPEG", quality=(25, 18, 15, 10, 7)[severity])
    with Image.open(stream) as opened:
        return np.asarray(opened.convert("RGB")) / 255


CORRUPTIONS: dict[str, Callable[[Floats, int, np.random.Generator], Floats]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "blur": _blur,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "contrast": _contrast,
    "brightness": _brightness,
    "darkness": _darkness,
    "saturation": _saturation,
}
"""The corruptions by name: pixels [H, W, 3] in [0, 1], severity 0 to 4 and a generator -> pixels, cut to [0, 1] afterwards."""


def corrupted(examples: Examples, kind: str, severity: int = 3, seed: int = 0) -> Examples:
    """The same images with a corruption of `kind` (a name in `CORRUPTIONS`) and severity 1 (weak) to 5 (strong).

    Noise is a function of (`seed`, kind, the image's content): a row looks the same in any order and in any subset. Images are changed when
    they are fetched, at their full size. Raises InputError for other names, severities and modalities.

    >>> corrupted(examples, "gaussian_noise", severity=5).name
    'photos@gaussian_noise-5'
    """
    if kind not in CORRUPTIONS:
        raise unknown("corruption", kind, CORRUPTIONS)
    if severity not in range(1, 6):
        raise InputError(f"severity goes from 1 (weak) to 5 (strong), found {severity}.")
    work = CORRUPTIONS[kind]

    def change(pixels: Pixels, digest: bytes) -> Pixels:
        random = key(seed, "corruption", kind, digest.hex()).generator()
        return np.asarray(np.rint(work(pixels / 255, severity - 1, random).clip(0, 1) * 255).astype(np.uint8))

    return changed(examples, change, f"corrupted {kind} {severity} {seed}", f"{kind}-{severity}")


def block_shuffled(examples: Examples, size: int, side: int = 224, seed: int = 0) -> Examples:
    """The same images, each resized to side x side pixels and its blocks of size x size put into one other order (`BlockShuffle`).

    Give `side` the size of the backbone's input, so that blocks stay whole. Raises InputError for a size outside 1 to `side`.
    """
    import torch  # the words of a shift are checked before it is loaded

    from fewtune.data.views.blocks import shuffled

    view = BlockShuffle(size=size, seed=seed)
    if not 1 <= size <= side:
        raise InputError(f"blocks have 1 to {side} pixels a side, found size {size}.")

    def change(pixels: Pixels, digest: bytes) -> Pixels:  # noqa: ARG001
        square = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        found: Pixels = (
            shuffled(view, torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy().astype(np.uint8)
        )
        return found

    return changed(examples, change, f"{text(view)} {side}", f"blocks-{size}")


def _image(x: Floats) -> Image.Image:
    return Image.fromarray(np.rint(x.clip(0, 1) * 255).astype(np.uint8))
