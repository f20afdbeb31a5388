"""Pictures given from Python: paths, encoded bytes, Pillow images and arrays, alone or mixed in a list.

All kinds go through the same steps as a file: they are turned upright by their EXIF, converted to RGB (`rgb.to_rgb`), and refused if they
have too many pixels. So a file, its bytes, `Image.open` of it and its array give the same result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from PIL import Image, ImageFile

from fewtune.data.images import decode, finished, header, kind_of, pixel_limit
from fewtune.data.items import Modality, content_digest, pixels_digest, read_file
from fewtune.data.pixels import Bytes, as_image, as_pixels, one_or_many, plain
from fewtune.data.reading.labels import missing
from fewtune.errors import InputError

Picture: TypeAlias = bytes | Path | Image.Image | Bytes


@final
@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of any kinds and sizes: encoded bytes, paths, Pillow images, uint8 pixels [H, W] or [H, W, C]; None for a missing one."""

    values: Sequence[Picture | None]
    names: Sequence[str]
    modality: Modality = "image"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def on_disk(self) -> bool:
        return any(isinstance(value, Path) for value in self.values)

    def read(self, row: int) -> bytes | None:
        """The encoded bytes of one picture, None if it is decoded already."""
        value = self.values[row]
        if value is None:
            raise InputError(f"{self.names[row]}: the picture is missing.")
        if isinstance(value, Path):
            return read_file(value)
        return value if isinstance(value, bytes) else None

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        if (content := self.read(row)) is not None:
            return decode(content, name=self.names[row], size_hint=size_hint)
        value = self.values[row]
        assert isinstance(value, Image.Image | np.ndarray)
        return finished(as_image(value) if isinstance(value, np.ndarray) else value, name=self.names[row])

    def digest(self, row: int) -> bytes:
        """The digest of the encoded bytes, so that a file and its bytes have the same one; for a decoded picture, of its pixels."""
        if (content := self.read(row)) is not None:
            return content_digest(content)
        value = self.values[row]
        return pixels_digest(value if isinstance(value, np.ndarray) else np.asarray(self.fetch(row)))


def is_encoded(value: Any) -> bool:
    """Whether a value is bytes that begin like an image; or such bytes, or a path, in a mapping as in Hugging Face datasets."""
    if isinstance(value, bytes | bytearray | memoryview):
        return kind_of(bytes(value[:16])) is not None
    return isinstance(value, dict) and bool(value.keys() & {"bytes", "path"})


def is_picture(value: Any) -> bool:
    """Whether a value can only be a picture."""
    return isinstance(value, Image.Image) or is_encoded(value)


def read_pictures(values: Sequence[Any], names: Sequence[str] | None, name: str, folder: Path = Path()) -> tuple[Pictures, list[str]]:
    """Pictures of any kinds, and the name of each: from `names`, else its file, else its position. Paths are relative to `folder`.

    Missing pictures and missing files are kept, to be refused or left out later. Raises InputError with the first row that is not a
    picture.
    """
    called = [names[row] if names is not None else _file_of(value) or f"{name}:{row}" for row, value in enumerate(values)]
    held = [_held(value, called[row], folder) for row, value in enumerate(values)]
    return Pictures(held, called), called


def _file_of(value: Any) -> str:
    """The file that a value is, or was opened from; "" if there is none."""
    if isinstance(value, dict):
        value = value.get("path") or ""
    found = getattr(value, "filename", "") if isinstance(value, Image.Image) else value
    return str(found) if isinstance(found, str | Path) else ""


def _held(value: Any, name: str, folder: Path) -> Picture | None:
    """One value in the form in which it is stored, None if it is missing."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str | Path):
        return None if missing(value) else folder / value
    if isinstance(value, Image.Image):
        return _unloaded(value) or value
    if missing(value):
        return None
    value = plain(value)
    if isinstance(value, np.ndarray | list | tuple):
        return _pixels(value, name)
    found = type(value).__name__
    raise InputError(f"{name}: expected a picture (a path, encoded bytes, a Pillow image or an array), found a value of type {found}.")


def _pixels(value: Any, name: str) -> Bytes:
    try:
        x = np.asarray(value)
    except (ValueError, TypeError):  # lists of several lengths
        x = np.asarray(None)
    many = one_or_many(x)
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3) or len(many) != 1:
        raise InputError(f"{name}: expected one picture [H, W], [H, W, C] or [3, H, W], found {x.dtype} {list(x.shape)}.")
    made: Bytes = as_pixels(many, name)[0]
    return made


def _unloaded(image: Image.Image) -> bytes | None:
    """The encoded bytes of an image that was opened but not loaded yet, so that it is read exactly like its file; else None.

    For other images, None; they are loaded here, before threads read their pixels. A failure is reported when the pixels are read.
    """
    with contextlib.suppress(Exception):  # Pillow and its files raise almost anything; then the image itself is used
        if isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is not None and image.tell() == 0:
            place = image.fp.tell()
            image.fp.seek(0)
            content = image.fp.read()
            image.fp.seek(place)
            found = header(content)
            if (found.width, found.height, found.mode) == (*image.size, image.mode):  # if not, it was changed after it was opened
                return content
        if image.width * image.height <= pixel_limit():
            image.load()
    return None
