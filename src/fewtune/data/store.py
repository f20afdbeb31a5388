"""Decoded images kept on disk as one memory-mapped uint8 array, so that a collection is decoded once and not in every pass."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL
from PIL import Image

from fewtune.data.examples import Examples
from fewtune.data.items import Pixels
from fewtune.data.threads import cores
from fewtune.errors import InputError
from fewtune.files import sync_folder

Resize: TypeAlias = Literal["short", "square"]
_VERSION = 1  # of what the array holds; a new one makes new files
_STALE = 3600.0  # seconds without a write after which a temporary file counts as left behind
_WINDOW = 256  # rows decoded ahead of the writer


def decoded_store(examples: Examples, size: int, folder: Path, resize: Resize = "short", workers: int = 0) -> Examples:
    """The same collection with its images decoded, `size` x `size` pixels, uint8 [N, size, size, 3], memory-mapped from `folder`.

    resize "short": the short side becomes `size` (bicubic) and the middle is cut out; "square": both sides become `size`, the shape of
    things is not kept. The file's name is a digest of the rows' content, the size and the way of resizing, so that a store is used
    again wherever the same rows come back, and never for others. It is written to a temporary name and renamed when whole; memory does
    not grow with the number of rows.
    Raises InputError for what is no collection of images, for a row that cannot be read (named), and for a full disk.
    """
    if examples.modality != "image":
        raise InputError(f"{examples.name} holds {examples.modality}s: expected images to decode.")
    if not len(examples):
        raise InputError(f"{examples.name} has no rows: expected images to decode.")
    if size < 1 or resize not in ("short", "square"):
        raise InputError(f"cannot resize to {size} by {resize!r}: expected a size of at least 1 pixel, and short or square.")
    text = f"{_VERSION} {examples.digest()} {size} {resize} {PIL.__version__}"
    path = folder / f"decoded-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.npy"
    shape = (len(examples), size, size, 3)
    if not _whole(path, shape):
        try:
            _write(path, examples, shape, resize, workers or cores())
        except OSError as problem:
            raise InputError(
                f"the decoded images of {examples.name} cannot be written to {folder}: {problem.strerror or problem}."
            ) from None
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return replace(examples, items=Pixels(pixels))


def _whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is there and is what its name says (it is renamed only when whole, but a disk may lie)."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return bool(found.dtype == np.uint8 and found.shape == shape)


def _write(path: Path, examples: Examples, shape: tuple[int, ...], resize: Resize, workers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            with ThreadPoolExecutor(workers) as pool:
                for start in range(0, shape[0], _WINDOW):
                    rows = range(start, min(start + _WINDOW, shape[0]))
                    for image in pool.map(lambda row: _resized(examples, row, shape[1], resize), rows):
                        file.write(image.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _sweep(path: Path) -> None:
    """Remove what killed runs left of this very file; one that still grows is another process at work."""
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE:
                stale.unlink()


def _resized(examples: Examples, row: int, size: int, resize: Resize) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = examples.items.fetch(row, size)
    assert isinstance(image, Image.Image)
    if resize == "square":
        return np.ascontiguousarray(image.resize((size, size), Image.Resampling.BICUBIC))
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    # cut and resized in one step: only the middle square is computed
    return np.ascontiguousarray(image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short)))
