"""Near-duplicates between two collections: the same photo saved again, the same sentence typed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.data.examples import Examples, Integers
from fewtune.data.near import near_images, texts
from fewtune.errors import InputError

HASH_DISTANCE = 8
"""Bits of 64. Of photos saved again as JPEG, at half or twice the size, or 15% lighter or darker, 98 in 100 and more stay within 8.

Fine textures lose more, for little of them is left at 32 x 32. The hash alone is coarse: at 8 bits, of every 10,000 pairs of drawings
that are no copies, about one passes too.
"""
CORRELATION = 0.97
"""Of the small grey pictures. The same copies stay above it; different shirts laid out alike, and guitars drawn alike, reach 0.97.

What lies above and is no copy is the same drawing in other colours, or catalogue photos of two things in one stance.
"""
JACCARD = 0.8
"""Of sets of shingles. Sentences that differ in a word or two of small importance ("do you know any jokes", "hey do you know any jokes")
are above it; those that differ in what they ask for are below, but for long ones.
"""

Distances: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Found: TypeAlias = tuple[Integers, Integers, Distances]
_NOTHING: Found = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows alike, the nearest first: `first` [P] of the one collection, `second` [P] of the other.

    `distance` [P]: of images, the bits of 64 in which their hashes differ; of texts, 1 - Jaccard of their shingles.
    """

    first: Integers
    second: Integers
    distance: Distances

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(
    a: Examples,
    rows_a: Integers,
    b: Examples,
    rows_b: Integers,
    *,
    distance: int = HASH_DISTANCE,
    correlation: float = CORRELATION,
    jaccard: float = JACCARD,
) -> Pairs:
    """The pairs (a row of `a`, a row of `b`) that are near-duplicates; within one collection each pair once, and no row with itself.

    Images: at most `distance` bits between the hashes, and grey pictures of 16 x 16 that correlate at least `correlation`; flat images
    only where every pixel is equal. Texts: Jaccard of shingles at least `jaccard`, in (0, 1]. Vectors have none. Rows that cannot be
    read are passed over. Labels are not looked at. `a` is held in memory (half a kB an image), `b` passes by.
    Raises InputError for two modalities.
    """
    return near_in_each(a, rows_a, [(b, rows_b)], distance=distance, correlation=correlation, jaccard=jaccard)[0]


def near_in_each(
    a: Examples,
    rows_a: Integers,
    others: Sequence[tuple[Examples, Integers]],
    *,
    distance: int = HASH_DISTANCE,
    correlation: float = CORRELATION,
    jaccard: float = JACCARD,
) -> list[Pairs]:
    """`near_pairs` with each of several collections; the rows of `a` are looked at once."""
    for b, _ in others:
        if a.modality != b.modality:
            raise InputError(
                f"near-duplicates are looked for in one modality, but {a.name} holds {a.modality}s and {b.name} {b.modality}s."
            )
    if a.modality == "vector":
        return [_sorted(_NOTHING)] * len(others)
    rows_a = np.asarray(rows_a, dtype=np.int64)
    if a.modality == "image":
        looks = near_images.looks_of(a, rows_a)
        found = [near_images.alike(looks, b, np.asarray(rows, dtype=np.int64), distance, correlation) for b, rows in others]
    else:
        index = texts.index_of(a, rows_a, jaccard)
        found = [texts.alike(index, b, np.asarray(rows, dtype=np.int64)) for b, rows in others]
    return [_sorted(_once(*pairs) if a is b else pairs) for pairs, (b, _) in zip(found, others, strict=True)]


def _sorted(pairs: Found) -> Pairs:
    first, second, apart = pairs
    order = np.lexsort((second, first, apart))
    return Pairs(first[order], second[order], apart[order])


def _once(first: Integers, second: Integers, apart: Distances) -> Found:
    """Without rows paired with themselves, and of (i, j) and (j, i) only the one that has the lower row first."""
    count = int(max(first.max(initial=0), second.max(initial=0))) + 1
    mirrored = np.isin(first * count + second, second * count + first) & (first > second)
    kept = (first != second) & ~mirrored
    return first[kept], second[kept], apart[kept]
