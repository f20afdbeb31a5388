"""Decoding images, which are hostile until shown otherwise."""

from __future__ import annotations

import io

from PIL import Image

from fewtune.errors import InputError


def decode(content: bytes, *, name: str) -> Image.Image:
    """An RGB image from encoded bytes. Raises InputError naming the image when it cannot be read."""
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError) as problem:
        raise InputError(f"{name} cannot be read as an image: {problem}.") from None
