"""Pictures with 16 bits a value: how many bits are used, and the conversion to 8 bits.

A 16-bit file seldom says how many bits it uses. Microscopes, X-ray and depth sensors write 8, 10, 12 or 14 bits into it; divided by 65535,
such a picture looks black. So each picture is scaled by the smallest usual depth that holds its largest value. The disadvantage: two
pictures of one camera are scaled differently if one is much darker than the other, and their brightness can then not be compared.
`inspect` reports this. It does not happen if a file declares its largest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from fewtune.words import counted

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

DEPTHS = (8, 10, 12, 14, 16)
"""The usual numbers of bits used in 16-bit files."""

# Of 16-bit colour, Pillow keeps only the upper byte. Read in the other byte order, the same file gives the lower byte.
_OTHER_BYTE = {f"{bands};16{order}": f"{bands};16{other}" for bands in ("RGB", "RGBA") for order, other in ("BL", "LB", "NB")}
_ALL_BITS = 1 << 6  # an upper byte of at least this means more than 14 bits: nothing to brighten


def depth(top: int) -> int:
    """The smallest of DEPTHS whose values reach `top`, at most 65535."""
    return next(bits for bits in DEPTHS if top < 1 << bits)


def scaled(values: np.ndarray[Any, Any], declared: int | None = None) -> Bytes:
    """One picture's integers in 0..65535, of any shape, as 0..255: multiplied by 255, divided by the largest value of its depth, rounded.

    `declared`: the largest value that its file declares; the depth is large enough for it too.
    """
    greatest = (1 << depth(max(int(values.max()), declared or 0))) - 1
    return ((values.astype(np.uint32) * 255 + greatest // 2) // greatest).astype(np.uint8)


def declared_top(image: Image.Image) -> int | None:
    """The largest value that a picture's file declares, if it is below 65535, or if Pillow has already scaled it to 65535; else None.

    In a TIFF: BitsPerSample, MaxSampleValue, SMaxSampleValue. In a PGM: Pillow divides by the largest value in its header. The sBIT of a
    PNG does not help: the values of such a file fill all 16 bits (PNG specification, section 13.12).
    """
    if image.format == "PPM":
        return 65535
    tags = getattr(image, "tag_v2", {})
    bits = _whole(tags.get(258))
    said = [(1 << bits) - 1 if bits is not None and 8 < bits < 16 else None, _whole(tags.get(281)), _whole(tags.get(341))]
    return next((top for top in said if top is not None and 255 < top < 65535), None)


def _whole(tag: object) -> int | None:
    value = tag[0] if isinstance(tag, tuple) and tag else tag
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 32 else None


def is_grey_16(image: Image.Image) -> bool:
    """Whether it has one band of 16 bits or more (Pillow reads some files of 16 bits as 32)."""
    return image.mode.startswith("I;16") or image.mode == "I"


def is_colour_16(image: ImageFile.ImageFile) -> bool:
    """Whether it is opened but not loaded, and has three or four bands of 16 bits."""
    return bool(image.tile) and all(_raw_mode(tile.args) in _OTHER_BYTE for tile in image.tile)


def give_lower_bytes(image: ImageFile.ImageFile) -> None:
    """Change such a picture so that it gives the lower byte of each value when it is loaded."""
    image.tile = [tile._replace(args=_other(tile.args)) for tile in image.tile]


def _other(args: Any) -> Any:
    other = _OTHER_BYTE[_raw_mode(args)]
    return other if isinstance(args, str) else (other, *args[1:])


def _raw_mode(args: Any) -> str:
    """The byte layout of a tile, in Pillow's terms: the only argument of its decoder, or the first of several."""
    return str(args if isinstance(args, str) or not args else args[0])


def whole(upper: Image.Image, lower: Image.Image) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The 16-bit values [H, W, 3 or 4] of a colour picture, from its upper and its lower bytes."""
    values: np.ndarray[Any, np.dtype[np.uint16]] = np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower)
    return values


def brightened(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """16-bit colour as 8 bits a band, scaled by its depth; if all bits are used, the upper bytes."""
    if int(np.asarray(upper)[..., :3].max()) >= _ALL_BITS:
        return upper
    made = scaled(whole(upper, lower)[..., :3])
    alpha = np.asarray(upper)[..., 3:]
    return Image.fromarray(np.concatenate([made, alpha], axis=-1))


def remark_on_bits(bits: Mapping[int, int]) -> str:
    """A remark on 16-bit pictures that use fewer bits, from: number of bits -> number of pictures."""
    count = sum(bits.values())
    if len(bits) == 1:
        n = next(iter(bits))
        used = f"{'uses' if count == 1 else 'use'} {n} bits of 16 (values up to {(1 << n) - 1:,} of 65,535)"
        return f"{counted(count, 'image')} {used}: {'it is' if count == 1 else 'they are'} brightened so that {n} bits fill the scale."
    used = ", ".join(f"{images:,} use {n}" for n, images in bits.items())
    return f"{count:,} images use few of their 16 bits ({used}): each is brightened by its own, so do not compare their brightness."
