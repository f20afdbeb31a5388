"""Arrays of pixels (one picture or several, channels first or last, any numbers) become uint8 with channels last."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from fewtune.data.sixteen import scaled
from fewtune.errors import InputError

Array: TypeAlias = np.ndarray[Any, Any]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


def plain(values: Any) -> Any:
    """A NumPy array, if the values are a tensor or another array-like of numbers; else the values as they are."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
        return values.numpy()
    return values


def one_or_many(x: Array, taught: tuple[int, ...] | None = None) -> Array:
    """Pictures [N, ...] from an array of one picture or several.

    [H, W] is one grey picture; an array of four axes is several pictures. An array of three axes is one picture if its last axis has 1, 3
    or 4 channels, or its first axis has 3; else it is N grey pictures [N, H, W]. `taught` [H, W] comes before these rules: it is the size
    of a model's grey training pictures, if they were given as one array [N, H, W]. An array whose rows have that size is then several
    pictures: [3, H, W] is usually one colour picture, but three grey ones for a model trained on grey pictures of H x W.
    """
    several = x.ndim == 3 and (x.shape[1:] == taught or (x.shape[-1] not in (1, 3, 4) and x.shape[0] != 3))
    return x[None] if x.ndim in (2, 3) and not several else x


def as_pixels(x: Array, name: str) -> Bytes:
    """Pictures [N, H, W] or [N, H, W, C] in uint8, C = 1, 3 or 4, from [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3.

    If channels first and last are both possible, last is taken. Booleans are black and white; floats are in 0..1; integers in 0..255;
    16-bit integers above 255 are scaled picture by picture like those of files (`sixteen.scaled`). Raises InputError for anything else.
    """
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4):
        if x.shape[1] not in (1, 3):
            raise InputError(f"{name}: expected images with 1, 3 or 4 channels last (or 1 or 3 first), found shape {list(x.shape)}.")
        x = np.moveaxis(x, 1, -1)
    if 0 in x.shape[1:]:
        raise InputError(f"{name}: expected images of at least one pixel, found shape {list(x.shape)}.")
    if x.dtype == np.uint8:
        return x
    if not fits(x):
        span = f"{float(x.min()):g} to {float(x.max()):g}"
        raise InputError(
            f"{name}: images of {x.dtype} from {span} are unclear: expected uint8 in 0..255, floats in 0..1 or "
            "integers of 16 bits, before any normalisation (the backbone does its own)."
        )
    if x.dtype.kind in "bf":
        made: Bytes = np.rint(x.astype(np.float32) * 255).astype(np.uint8)
        return made
    return np.stack([_scaled(picture) for picture in x]) if x.size and x.max() > 255 else x.astype(np.uint8)


def fits(x: Array) -> bool:
    """Whether numbers can be pixels: booleans, floats in 0..1, integers in 0..255, or 16-bit integers in 0..65535."""
    most = {"b": 1, "f": 1, "u": 65535 if x.dtype.itemsize == 2 else 255, "i": 65535 if x.dtype.itemsize == 2 else 255}
    return x.dtype.kind in most and (not x.size or bool(x.min() >= 0 and x.max() <= most[x.dtype.kind]))


def _scaled(picture: Array) -> Bytes:
    """[H, W] or [H, W, C], scaled by the depth of its colours; a fourth channel is alpha and is scaled by 16 bits."""
    if picture.shape[-1] != 4 or picture.ndim == 2:
        return scaled(picture)
    return np.concatenate([scaled(picture[..., :3]), scaled(picture[..., 3:], 65535)], axis=-1)


def as_image(pixels: Bytes) -> Image.Image:
    """One picture [H, W] or [H, W, C] as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
