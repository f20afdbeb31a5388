"""Images that look alike: a perceptual hash finds candidate pairs, and a small grey picture checks each of them.

The hash takes the grey image at 32 x 32, its discrete cosine transform, and the 64 lowest frequencies (without the mean); each bit says
whether a frequency is above their median. The hash changes little with another encoding, another size, or a little more light. But it is
coarse: two guitars drawn upright, or two striped cloths, can be as near as a photo and its copy. So each pair is checked by the
correlation of the grey pictures at 16 x 16.
Reference: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (pHash; here the set of frequencies is round).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from PIL import Image

from fewtune.data.examples import Examples, Integers
from fewtune.data.items import content_digest
from fewtune.data.near.close_codes import CodeIndex
from fewtune.data.threads import in_threads
from fewtune.errors import InputError

Codes: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Halves: TypeAlias = np.ndarray[Any, np.dtype[np.float16]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

FLAT = 2.0
"""An image is flat (a white page, a black frame) if its small picture has a standard deviation below this, in grey levels of 255.

The hash of a flat image is only noise, so it counts as a copy of another only if every pixel is equal.
"""

_SIDE, _SMALL = 32, 16
_ROWS = 8192  # rows hashed before they are compared, so that memory does not grow with the second collection
_LOOSE = 4096  # pairs of small pictures compared at once


@final
@dataclass(frozen=True, eq=False)
class Looks:
    """What is kept of images of any size: a hash of 64 bits and a small picture.

    `rows` [N]: the rows that could be read. `codes` [N]: hashes, uint64. `small` [N, 256]: float16 of mean 0 and length 1 (0 if flat).
    `pixels`: position 0..N-1 -> a digest of every pixel, for flat images only.
    """

    rows: Integers
    codes: Codes
    small: Halves
    pixels: dict[int, bytes]


def looks_of(examples: Examples, rows: Integers) -> Looks:
    """Hash these rows, in threads. Rows that cannot be read are left out."""

    def one(place: int) -> tuple[np.uint64, Halves, bytes | None] | None:
        try:
            return _look(examples, int(rows[place]))
        except InputError:
            return None

    found = [(int(rows[place]), look) for place, look in enumerate(in_threads(one, len(rows))) if look is not None]
    return Looks(
        np.array([row for row, _ in found], dtype=np.int64),
        np.array([look[0] for _, look in found], dtype=np.uint64),
        np.array([look[1] for _, look in found], dtype=np.float16).reshape(len(found), _SMALL * _SMALL),
        {place: look[2] for place, (_, look) in enumerate(found) if look[2] is not None},
    )


def alike(held: Looks, b: Examples, rows_b: Integers, distance: int, correlation: float) -> tuple[Integers, Integers, Floats]:
    """The pairs within `distance` bits and with a correlation of at least `correlation`: (row in memory, row of b, differing bits).

    The rows of `b` are read block by block and not kept.
    """
    starts = range(0, max(1, len(rows_b)), _ROWS)  # at least one block
    return _all_near(held, (looks_of(b, rows_b[s : s + _ROWS]) for s in starts), len(rows_b), distance, correlation)


def alike_within(held: Looks, distance: int, correlation: float) -> tuple[Integers, Integers, Floats]:
    """The same within what is in memory: each pair in both orders, and every row with itself."""
    starts = range(0, max(1, len(held.rows)), _ROWS)
    return _all_near(held, (_part(held, s) for s in starts), len(held.rows), distance, correlation)


def _part(held: Looks, start: int) -> Looks:
    """The looks of _ROWS rows from one on."""
    some = slice(start, start + _ROWS)
    pixels = {place - start: digest for place, digest in held.pixels.items() if start <= place < start + _ROWS}
    return Looks(held.rows[some], held.codes[some], held.small[some], pixels)


def _all_near(held: Looks, blocks: Iterable[Looks], count: int, distance: int, correlation: float) -> tuple[Integers, Integers, Floats]:
    """The pairs with all blocks; `count`: the rows in them."""
    index, same = CodeIndex(held.codes), _by_pixels(held.pixels)
    parts = [_compared(held, index, same, block, count, distance, correlation) for block in blocks]
    first, second, bits = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return first, second, bits.astype(np.float32)


def _compared(
    a: Looks, index: CodeIndex, flat: dict[bytes, list[int]], b: Looks, count: int, distance: int, correlation: float
) -> tuple[Integers, Integers, Bytes]:
    same = np.array([(mine, place) for place, digest in b.pixels.items() for mine in flat.get(digest, ())], dtype=np.int64).reshape(-1, 2)
    first, second, bits = [same[:, 0]], [same[:, 1]], [np.zeros(len(same), dtype=np.uint8)]
    for left, right, apart in index.near(b.codes, distance, of=count):
        correlated = _correlations(a.small, left, b.small, right)
        kept = (correlated >= correlation) & (correlated != 0)  # 0: flat images
        first.append(left[kept])
        second.append(right[kept])
        bits.append(apart[kept])
    return a.rows[np.concatenate(first)], b.rows[np.concatenate(second)], np.concatenate(bits)


def _look(examples: Examples, row: int) -> tuple[np.uint64, Halves, bytes | None]:
    image = examples.items.fetch(row, _SIDE)
    assert isinstance(image, Image.Image)
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    small = grey.reshape(_SMALL, 2, _SMALL, 2).mean((1, 3)).reshape(-1)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    if length < FLAT * _SMALL:  # the length is the standard deviation times the square root of 256, the number of pixels
        whole = examples.items.fetch(row)  # the image at full size: a large photo was decoded at a smaller one
        assert isinstance(whole, Image.Image)
        return np.uint64(0), np.zeros(len(small), dtype=np.float16), content_digest(str(whole.size).encode() + whole.tobytes())
    return hash_of(grey), (small / length).astype(np.float16), None


def hash_of(grey: Floats) -> np.uint64:
    """The hash of 64 bits of a grey image [32, 32]."""
    low = (_COSINES @ grey @ _COSINES.T)[_FREQUENCIES]
    bits: Codes = np.packbits(low > np.median(low)).view(np.uint64)
    return bits[0]  # type: ignore[no-any-return]


def _transform() -> tuple[Floats, tuple[Integers, Integers]]:
    """The first rows of the cosine transform, and the 64 lowest frequencies after the mean, ordered by their sum and then by row."""
    order = sorted(((i, j) for i in range(11) for j in range(11) if i + j), key=lambda at: (at[0] + at[1], at[0]))[:64]
    cosines = np.cos(np.pi * np.arange(11)[:, None] * (2 * np.arange(_SIDE) + 1) / (2 * _SIDE)) / 4
    cosines[0] /= np.sqrt(2)
    return cosines.astype(np.float32), (np.array([i for i, _ in order]), np.array([j for _, j in order]))


_COSINES, _FREQUENCIES = _transform()


def _correlations(a: Halves, left: Integers, b: Halves, right: Integers) -> Floats:
    """The dot products [P] of the rows a[left] and b[right]."""
    found = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), _LOOSE):
        part = slice(start, start + _LOOSE)
        found[part] = np.einsum("pd,pd->p", a[left[part]].astype(np.float32), b[right[part]].astype(np.float32))
    return found


def _by_pixels(pixels: dict[int, bytes]) -> dict[bytes, list[int]]:
    """The places of the flat images by the digest of their pixels."""
    places: dict[bytes, list[int]] = {}
    for place, digest in pixels.items():
        places.setdefault(digest, []).append(place)
    return places
