"""The rows of a collection, not decoded yet: files, encoded images, texts, pixels or vectors.

Every kind has the same four methods: `len`, `modality`, `fetch(row)` and `digest(row)` (a digest of 16 bytes of the row's content).
A fetched item is an upright PIL image in RGB, a string, or a float vector. `size_hint` is the short side that is wanted in the end:
large photos then decode faster, and the other kinds ignore it. Nothing is decoded before it is fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from PIL import Image

from fewtune.data.images import decode, finished
from fewtune.data.pixels import as_image
from fewtune.errors import InputError
from fewtune.files import read_regular

NO_FILE = "no file is named"
Modality: TypeAlias = Literal["image", "text", "vector"]
Item: TypeAlias = Image.Image | str | np.ndarray[Any, np.dtype[np.float32]]


@runtime_checkable
class Items(Protocol):
    """The rows of one collection."""

    @property
    def modality(self) -> Modality: ...
    def __len__(self) -> int: ...
    def fetch(self, row: int, size_hint: int | None = None) -> Item: ...
    def digest(self, row: int) -> bytes: ...


def content_digest(content: bytes | memoryview) -> bytes:
    """A digest of 16 bytes of a row's content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def pixels_digest(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A digest of 16 bytes of one picture's shape and pixels."""
    return content_digest(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())


def read_file(path: Path) -> bytes:
    """The bytes of a plain file. Raises InputError with its name if it cannot be read, or is a pipe or a device."""
    try:
        return read_regular(path)
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from None


@final
@dataclass(frozen=True)
class Wanted:
    """What a model reads, to decide how inputs without labels are read if they could be several things.

    `modality`: what the model labels. `taught` [H, W]: the size of its training pictures, if they were grey and given as one array
    [N, H, W]; else None (see `pixels.one_or_many`). `fields`: the names of the two texts of each row, none where it reads one.
    """

    modality: Modality
    taught: tuple[int, ...] | None = None
    fields: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Files:
    """Image files on disk, read when they are fetched; None if a table names no file."""

    paths: Sequence[Path | None]
    modality: Modality = "image"
    on_disk: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> bytes:
        """The bytes of the file. Raises InputError with its name if it cannot be read."""
        path = self.paths[row]
        if path is None:
            raise InputError(f"row {row}: {NO_FILE}.")
        return read_file(path)

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        return decode(self.read(row), name=str(self.paths[row]), size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        return content_digest(self.read(row))


@final
@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded images (JPEG, PNG, ...) one after another in one array of bytes; image i is content[offsets[i]:offsets[i + 1]]."""

    content: np.ndarray[Any, np.dtype[np.uint8]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    names: Sequence[str]
    modality: Modality = "image"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image."""
        return self.content[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        return decode(self.read(row), name=self.names[row], size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        return content_digest(self.read(row))


@final
@dataclass(frozen=True, eq=False)
class Texts:
    """Strings. `problems`: row -> why its text cannot be used. `fields`: the names of the fields of texts that have two (`data.fields`)."""

    texts: Sequence[str]
    modality: Modality = "text"
    problems: Mapping[int, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def fetch(self, row: int, size_hint: int | None = None) -> str:  # noqa: ARG002
        return self.texts[row]

    def digest(self, row: int) -> bytes:
        return content_digest(self.texts[row].encode(errors="surrogatepass"))


@final
@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images of one size: uint8 [N, H, W] or [N, H, W, C] with C = 1, 3 or 4, the fourth channel is alpha; may be memory-mapped."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    modality: Modality = "image"

    def __len__(self) -> int:
        return len(self.pixels)

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:  # noqa: ARG002
        return finished(as_image(self.pixels[row]))

    def digest(self, row: int) -> bytes:
        return pixels_digest(self.pixels[row])


def not_finite(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows [N, D] with NaN or infinity, looked for in blocks: the test makes a copy."""
    size = 1 << 14
    found = [start + np.flatnonzero(~np.isfinite(vectors[start : start + size]).all(1)) for start in range(0, len(vectors), size)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


@final
@dataclass(frozen=True, eq=False)
class Vectors:
    """Embeddings given directly, float32 [N, D]; may be memory-mapped."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    modality: Modality = "vector"

    def __len__(self) -> int:
        return len(self.vectors)

    def fetch(self, row: int, size_hint: int | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:  # noqa: ARG002
        vector: np.ndarray[Any, np.dtype[np.float32]] = self.vectors[row]
        return vector

    def digest(self, row: int) -> bytes:
        return content_digest(np.ascontiguousarray(self.vectors[row]).tobytes())
