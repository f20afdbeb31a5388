"""Rows as the page shows them: small pictures, shortened texts."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from fewtune.data.fields import shown
from fewtune.data.items import Item
from fewtune.data.pixels import as_image
from fewtune.data.prompts.template import texts_within
from fewtune.data.rgb import to_rgb
from fewtune.report.findings import Shown

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
LONGEST_TEXT = 240


def thumbnail(item: Item | np.ndarray[Any, np.dtype[np.uint8]], size: int = 128) -> Shown:
    """A fetched item made small: an image as PNG or JPEG bytes (whichever is fewer), a text as one line, nothing for a vector.

    `size`: the long side in pixels; smaller images keep theirs. Pixels may also be given as uint8 [H, W] or [H, W, C].
    """
    if isinstance(item, str):
        line = " ".join(shown(texts_within(item)).split())
        return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1].rstrip() + "…"
    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8 or item.ndim < 2:
            return None
        item = as_image(item.astype(np.uint8, copy=False))
    image = to_rgb(item)
    scale = size / max(image.size)
    if scale < 1:
        small = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        image = image.resize(small, Image.Resampling.LANCZOS, reducing_gap=3.0)
    else:
        image = image.copy()
    image.info = {}  # no colour profile, no camera, no place: a report is passed on
    return min(_encoded(image, "JPEG", quality=82, optimize=True), _encoded(image, "PNG", optimize=True), key=len)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def data_address(content: bytes) -> str:
    """`data:image/...;base64,...` for the bytes of a thumbnail. Only PNG and JPEG, known by their first bytes."""
    if not content.startswith((PNG, JPEG)):
        raise ValueError(f"expected the bytes of a PNG or a JPEG, found {content[:8]!r}.")
    kind = "png" if content.startswith(PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
