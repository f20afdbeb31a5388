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
"""Number of differing bits, of 64. Of photos saved again as JPEG, at half or twice the size, or 15% lighter or darker, at least 98 in 100
differ by at most 8. Fine textures differ more, because little of them is left at 32 x 32. The hash alone is coarse: at 8 bits, about one
in 10,000 pairs of drawings that are not copies passes too.
"""
CORRELATION = 0.97
"""Correlation of the small grey pictures. The same copies stay above it; different shirts laid out alike, and guitars drawn alike, reach
0.97. Pairs above it that are not copies: the same drawing in other colours, or catalogue photos of two things in the same position.
"""
JACCARD = 0.8
"""Jaccard similarity of sets of shingles. Sentences that differ in one or two unimportant words ("do you know any jokes", "hey do you know
any jokes") are above it. Sentences that ask for different things are below it, except long ones.
"""

Distances: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Found: TypeAlias = tuple[Integers, Integers, Distances]
_NOTHING: Found = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of similar rows, the nearest first: rows `first` [P] of one collection, rows `second` [P] of the other.

    `distance` [P]: for images, the number of bits (of 64) in which the hashes differ; for texts, 1 - Jaccard of their shingles.
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
    """The pairs (row of `a`, row of `b`) that are near-duplicates. Within one collection, each pair is given once, and no row with itself.

    Images: the hashes differ in at most `distance` bits, and the grey pictures of 16 x 16 have a correlation of at least `correlation`;
    flat images must be equal in every pixel. Texts: the Jaccard similarity of the shingles is at least `jaccard`, in (0, 1]. Vectors have
    no near-duplicates. Rows that cannot be read are skipped. Labels are ignored. `a` is kept in memory (half a kB an image); `b` is read in
    blocks. Raises InputError for two modalities.
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
    """`near_pairs` with each of several collections; the rows of `a` are read once."""
    for b, _ in others:
        if a.modality != b.modality:
            raise InputError(
                f"near-duplicates can only be found within one modality, but {a.name} holds {a.modality}s and {b.name} {b.modality}s."
            )
    if a.modality == "vector":
        return [_sorted(_NOTHING)] * len(others)
    rows_a = np.asarray(rows_a, dtype=np.int64)
    if a.modality == "image":
        looks = near_images.looks_of(a, rows_a)
        found = [
            near_images.alike_within(looks, distance, correlation)
            if _same(a, rows_a, b, rows)
            else near_images.alike(looks, b, np.asarray(rows, dtype=np.int64), distance, correlation)
            for b, rows in others
        ]
    else:
        index = texts.index_of(a, rows_a, jaccard)
        found = [
            texts.alike_within(index) if _same(a, rows_a, b, rows) else texts.alike(index, b, np.asarray(rows, dtype=np.int64))
            for b, rows in others
        ]
    return [_sorted(_once(*pairs) if a is b else pairs) for pairs, (b, _) in zip(found, others, strict=True)]


def _same(a: Examples, rows_a: Integers, b: Examples, rows_b: Integers) -> bool:
    """Whether the same rows are compared with themselves: then they need not be read twice."""
    return a is b and np.array_equal(rows_a, rows_b)


def _sorted(pairs: Found) -> Pairs:
    first, second, apart = pairs
    order = np.lexsort((second, first, apart))
    return Pairs(first[order], second[order], apart[order])


def _once(first: Integers, second: Integers, apart: Distances) -> Found:
    """Without rows paired with themselves; of (i, j) and (j, i), only the one with the lower row first."""
    count = int(max(first.max(initial=0), second.max(initial=0))) + 1
    mirrored = np.isin(first * count + second, second * count + first) & (first > second)
    kept = (first != second) & ~mirrored
    return first[kept], second[kept], apart[kept]
