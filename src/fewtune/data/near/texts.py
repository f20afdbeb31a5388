"""Texts that say the same: they are equal in a normal form, or share most of their character shingles.

The normal form drops small changes: letter case, white space, punctuation, and the different ways in which Unicode can spell a character
(NFKC). Shingles are the set of all sequences of 5 characters in " normal form "; two texts are near if |A and B| / |A or B| (Jaccard)
reaches a threshold. Pairs are found by an inverted index on the rarest shingles of each text: two sets
with Jaccard >= t share at least l of the first n - ceil(t n) + l of their n shingles, in any order that is the same for both (the prefix
filter). So no pair is missed, and every candidate is checked exactly.
Reference: Broder, "On the resemblance and containment of documents", 1997; Chaudhuri, Ganti, Kaushik, "A primitive operator for
similarity joins in data cleaning", ICDE 2006 (the prefix filter).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.data.examples import Examples, Integers

Shingles: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

LENGTH = 5  # characters of a shingle
_CHUNK = 4096  # texts of b at once
_BUCKETS = 1 << 20  # of the table that counts how often each shingle occurs
_NONE: Shingles = np.zeros(0, dtype=np.uint64)


def normal_form(text: str) -> str:
    """Lower case, NFKC, only letters, marks, digits and symbols, single spaces; empty if nothing is left.

    Symbols are kept, because a text can consist of emoji only.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kinds = {c: unicodedata.category(c)[0] for c in set(plain)}
    return " ".join(plain.translate({ord(c): " " for c, kind in kinds.items() if kind not in "LMNS"}).split())


def shingles_of(text: str) -> Shingles:
    """The distinct shingles of a normal form as 64-bit hashes in ascending order; none for an empty text."""
    if not text:
        return _NONE
    characters = np.frombuffer(f" {text} ".encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32).astype(np.uint64)
    count = max(1, len(characters) - LENGTH + 1)
    hashed = np.zeros(count, dtype=np.uint64)
    for i in range(min(LENGTH, len(characters))):
        hashed = (hashed ^ characters[i : i + count]) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    return np.unique(hashed)


@final
@dataclass(frozen=True, eq=False)
class Index:
    """Texts that can be searched: their `rows` [N] and `sets` of shingles, and an inverted index of the rarest shingles.

    `keys` [M]: shingles in ascending order. `owner` [M]: the position 0..N-1 of the text of each. `common`: counts of shingles by their
    hash.
    """

    rows: Integers
    sets: list[Shingles]
    sizes: Integers
    common: Integers
    keys: Shingles
    owner: Integers
    jaccard: float


def index_of(examples: Examples, rows: Integers, jaccard: float) -> Index:
    """An index of these rows to find texts with at least this Jaccard similarity, in (0, 1]."""
    sets = [_shingles(examples, int(row)) for row in rows]
    common = np.zeros(_BUCKETS, dtype=np.int64)
    for shingles in sets:
        common[_bucket(shingles)] += 1
    rare = [_rarest(shingles, common, jaccard) for shingles in sets]
    keys, owner = _joined(rare)
    order = np.argsort(keys, kind="stable")
    return Index(rows, sets, _sizes(sets), common, keys[order], owner[order], jaccard)


def alike(held: Index, b: Examples, rows_b: Integers) -> tuple[Integers, Integers, Floats]:
    """The similar pairs: (row of the index, row of b, 1 - Jaccard). Texts with an empty normal form have no pairs."""
    blocks = ([_shingles(b, int(row)) for row in rows_b[start : start + _CHUNK]] for start in range(0, len(rows_b), _CHUNK))
    return _all_near(held, blocks, rows_b)


def alike_within(held: Index) -> tuple[Integers, Integers, Floats]:
    """The same within the index: each pair in both orders, and every row with itself."""
    return _all_near(held, (held.sets[start : start + _CHUNK] for start in range(0, len(held.sets), _CHUNK)), held.rows)


def _all_near(held: Index, blocks: Iterable[list[Shingles]], rows_b: Integers) -> tuple[Integers, Integers, Floats]:
    first, second, apart = [], [], []
    for number, sets in enumerate(blocks):
        start = number * _CHUNK
        for i, j in _candidates(held, sets):
            either = len(np.union1d(held.sets[i], sets[j]))
            similarity = (len(held.sets[i]) + len(sets[j]) - either) / either
            if similarity >= held.jaccard:
                first.append(held.rows[i])
                second.append(rows_b[start + j])
                apart.append(1 - similarity)
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(apart, dtype=np.float32)


def _shingles(examples: Examples, row: int) -> Shingles:
    return shingles_of(normal_form(str(examples.items.fetch(row))))


def _bucket(shingles: Shingles) -> Integers:
    return (shingles & np.uint64(_BUCKETS - 1)).astype(np.int64)


def _sizes(sets: list[Shingles]) -> Integers:
    return np.array([len(shingles) for shingles in sets], dtype=np.int64)


def _joined(sets: list[Shingles]) -> tuple[Shingles, Integers]:
    """All shingles in one array, and the position of the set of each."""
    return np.concatenate([_NONE, *sets]), np.repeat(np.arange(len(sets)), _sizes(sets))


def _rarest(shingles: Shingles, common: Integers, jaccard: float) -> Shingles:
    """The prefix of a set: its first shingles in the order (how common in the index, hash)."""
    count = len(shingles)
    length = count - math.ceil(jaccard * count - 1e-9) + int(_shared(np.int64(count)))
    return shingles[np.argsort(common[_bucket(shingles)], kind="stable")[:length]]


def _shared(size: Any) -> Any:
    """How many shingles of its prefix a set of this size must share; prefixes are longer by as many.

    One would be enough; a larger number leaves fewer candidates among long texts, which often quote each other.
    """
    return np.minimum(size, 1 + size // 16)


def _candidates(held: Index, sets: list[Shingles]) -> list[tuple[int, int]]:
    """Pairs (position in the index, position in `sets`) that share enough of their prefixes and have similar sizes, each once."""
    asked, asker = _joined([_rarest(shingles, held.common, held.jaccard) for shingles in sets])
    low, high = np.searchsorted(held.keys, asked, "left"), np.searchsorted(held.keys, asked, "right")
    times = high - low
    places = np.repeat(low - np.cumsum(times) + times, times) + np.arange(int(times.sum()))
    pairs, shared = np.unique(held.owner[places] * len(sets) + np.repeat(asker, times), return_counts=True)
    i, j = np.divmod(pairs, len(sets))
    a, b = held.sizes[i], _sizes(sets)[j]
    small, large = np.minimum(a, b), np.maximum(a, b)
    kept = (shared >= _shared(small)) & (small >= held.jaccard * large - 1e-9)
    return list(zip(i[kept].tolist(), j[kept].tolist(), strict=True))
