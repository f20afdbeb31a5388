"""Decoding images, which may be damaged or hostile.

Only the formats listed here are read; they are recognised by their first bytes, never by the file's suffix. The number of pixels is read
from the header and checked against a limit before anything is decoded. Of an animation, the first frame is used. Every failure inside
Pillow becomes one InputError that names the image. Truncated files are refused, because Pillow would fill the missing part with grey.
(For a broken TIFF, the C library inside Pillow also prints a line to standard error.)
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fewtune.data.exif import orientation, without_exif
from fewtune.data.heic import heic_opener, is_heic
from fewtune.data.rgb import to_rgb
from fewtune.data.sixteen import brightened, declared_top, depth, give_lower_bytes, is_colour_16, is_grey_16, whole
from fewtune.errors import InputError
from fewtune.files import open_regular, read_regular

MAX_PIXELS = 50_000_000
"""Images with more pixels are refused, unless `max_pixels` or the environment variable FEWTUNE_MAX_PIXELS sets another limit."""

DECODING = 2
"""Increased when a change makes the same bytes give different pixels, so that features of the old pixels are not used again."""

# A photo is decoded at 1/2, 1/4 or 1/8 of its size only if its short side is then at least this many times the wanted one, so that the
# final resize still averages over enough pixels.
DRAFT_MARGIN = 2

_OPENERS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # also MPO: its first picture is a JPEG
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    *((b"P%d" % digit, "PPM") for digit in range(1, 7)),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PREFIX = 256 * 1024  # bytes: enough for a header, a colour profile and a thumbnail


@final
@dataclass(frozen=True)
class Header:
    """The header of an image file: stored width and height in pixels, format (JPEG, PNG, HEIF, ...), and Pillow's mode."""

    width: int
    height: int
    format: str
    mode: str


def decode(content: bytes, *, name: str, size_hint: int | None = None, max_pixels: int | None = None) -> Image.Image:
    """An upright 8-bit RGB image from encoded bytes (see `rgb.to_rgb` on how other modes become RGB).

    `size_hint`: the short side in pixels that is wanted in the end. A much larger JPEG is then decoded at a half, a quarter or an
    eighth of its size, with a short side of at least DRAFT_MARGIN * size_hint. `max_pixels`: the limit on width x height.
    Raises InputError with the name of the image if it is too large, truncated, or cannot be read.
    """
    with _naming(name):
        return _decoded(content, size_hint, max_pixels)


def finished(image: Image.Image, *, name: str | None = None, max_pixels: int | None = None) -> Image.Image:
    """An upright 8-bit RGB image from a Pillow image of any mode, by the same steps as `decode`.

    Its EXIF orientation is applied (Pillow has already done so for a TIFF). The given image is not changed. Raises InputError as `decode`
    does.
    """
    with _naming(name):
        _check(*image.size, max_pixels)
        exif = image.info.get("exif")
        return _upright(image, orientation(exif) if isinstance(exif, bytes) else 1)


def header(source: bytes | Path, *, name: str | None = None, max_pixels: int | None = None) -> Header:
    """The header of encoded bytes or of a file, without decoding the picture. Raises InputError as `decode` does."""
    with _naming(name or (str(source) if isinstance(source, Path) else "the image")):
        image, _ = _opened(source, max_pixels) if isinstance(source, bytes) else _peeked(source, max_pixels)
        return Header(*image.size, image.format or "", image.mode)


def bits_used(source: bytes | Path) -> int | None:
    """How many of its 16 bits a picture uses (see `sixteen.depth`). None for other pictures, and if the file declares it.

    Of a file without 16 bits a value, only the header is read.
    """
    with _naming(None):
        image, _ = _opened(source, None) if isinstance(source, bytes) else _peeked(source, None)
        if declared_top(image) is not None or not (is_grey_16(image) or is_colour_16(image)):
            return None
        content = source if isinstance(source, bytes) else read_regular(source)
        image, _ = _opened(content, None)
        values = whole(image, _lower(content))[..., :3] if is_colour_16(image) else np.asarray(image)
        return depth(int(values.max())) if values.min() >= 0 and values.max() <= 65535 else None


def why_unreadable(source: bytes | Path, *, deep: bool) -> str | None:
    """Why an image cannot be read, or None. Only its header is read unless `deep`."""
    try:
        with _naming(None):
            if deep:
                _decoded(source if isinstance(source, bytes) else source.read_bytes(), None, None)
            else:
                _opened(source, None) if isinstance(source, bytes) else _peeked(source, None)
    except InputError as problem:
        return str(problem)
    return None


@contextlib.contextmanager
def _naming(name: str | None) -> Iterator[None]:
    """Turn every failure inside into one InputError: Pillow's readers raise almost every kind of exception on hostile bytes."""
    before = f"{name} cannot be read as an image: " if name is not None else ""
    try:
        yield
    except InputError as problem:
        raise InputError(f"{before}{problem}") from None
    except Exception as problem:
        raise InputError(f"{before}{_reason(problem)}.") from None


def _decoded(content: bytes, size_hint: int | None, max_pixels: int | None) -> Image.Image:
    image, turn = _opened(content, max_pixels)
    if size_hint is not None and image.format == "JPEG":
        _draft(image, size_hint)
    return _upright(brightened(image, _lower(content)) if is_colour_16(image) else image, turn)


def _lower(content: bytes) -> Image.Image:
    """The lower bytes of 16-bit colour. The image is opened a second time; its pixels were checked against the limit the first time."""
    image, _ = _opened(content, sys.maxsize)
    give_lower_bytes(image)
    return image


def _upright(image: Image.Image, turn: int) -> Image.Image:
    """Loaded, turned and in RGB."""
    image.load()
    if turn == 1:
        return to_rgb(image)
    upright = image.transpose(_TURNS[turn])
    upright.info = {name: value for name, value in image.info.items() if name != "exif"}  # already applied, so it must not be applied again
    return to_rgb(upright)


def _peeked(path: Path, max_pixels: int | None) -> tuple[ImageFile.ImageFile, int]:
    """The header of a file, read from its first bytes if they are enough, else from the whole file."""
    with open_regular(path) as file:
        start = file.read(_PREFIX)
        if kind_of(start) in ("JPEG", "PNG", "BMP", "PPM") and len(start) == _PREFIX:
            try:
                return _opened(start, max_pixels)
            except InputError:
                raise
            except Exception:  # the header is longer: read the whole file
                pass
        return _opened(start + file.read(), max_pixels)


def kind_of(content: bytes) -> str | None:
    """The format that the first bytes belong to, or None."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if is_heic(content):
        return "HEIC"
    return next((kind for start, kind in _STARTS if content.startswith(start)), None)


def _opened(content: bytes, max_pixels: int | None) -> tuple[ImageFile.ImageFile, int]:
    """The image, opened and checked against the limit on pixels but not decoded, and its orientation 1..8.

    Pillow's readers are called directly, because Image.open would warn at Pillow's own global limit on pixels.
    """
    kind = kind_of(content)
    if kind is None:
        raise InputError(_stranger(content))
    if kind == "WEBP":  # its reader allocates memory for the whole canvas when it opens the file
        _check(*_webp_canvas(content), max_pixels)
    content, turn = without_exif(content) if kind == "JPEG" else (content, 1)
    opener = heic_opener() if kind == "HEIC" else _OPENERS[kind]
    image: ImageFile.ImageFile = opener(io.BytesIO(content))
    _check(*image.size, max_pixels)
    exif = image.info.get("exif")
    if kind in ("PNG", "WEBP") and isinstance(exif, bytes):  # Pillow turns a TIFF itself when it loads it
        turn = orientation(exif)
    return image, turn


def _webp_canvas(content: bytes) -> tuple[int, int]:
    if content[12:16] != b"VP8X":
        return 1, 1  # a plain picture: at most 16383 x 16383, checked after opening
    return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")


def _check(width: int, height: int, max_pixels: int | None) -> None:
    if not width or not height:
        raise InputError("it has no pixels.")
    limit = max_pixels if max_pixels is not None else pixel_limit()
    if width * height > limit:
        raise InputError(
            f"its {width} x {height} pixels are more than the limit of {limit / 1e6:g} million (set FEWTUNE_MAX_PIXELS to allow more)."
        )


def pixel_limit() -> int:
    """The limit on width x height: the environment variable FEWTUNE_MAX_PIXELS, or MAX_PIXELS."""
    spelled = os.environ.get("FEWTUNE_MAX_PIXELS", "")
    if not spelled:
        return MAX_PIXELS
    try:
        return int(float(spelled))
    except (ValueError, OverflowError):
        raise InputError(f"FEWTUNE_MAX_PIXELS is {spelled!r}: expected a number of pixels such as 50000000.") from None


def _draft(image: ImageFile.ImageFile, short_side: int) -> None:
    """Make the JPEG decoder skip detail that is not visible at the wanted size."""
    short = min(image.size)
    wanted = short_side * DRAFT_MARGIN
    if wanted > 0 and short >= 2 * wanted:
        # rounded up, so that the short side is never smaller than the wanted one
        image.draft(None, (-(-image.width * wanted // short), -(-image.height * wanted // short)))


def _stranger(content: bytes) -> str:
    """Why these bytes are not an image that can be read."""
    if not content:
        return "the file is empty."
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF is not supported; convert it to JPEG or PNG."
    return f"its first bytes belong to no known format (expected {', '.join((*_OPENERS, 'HEIC'))})."


def _reason(problem: Exception) -> str:
    said = " ".join(str(problem).split()).rstrip(".")
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return said[:200] or type(problem).__name__
