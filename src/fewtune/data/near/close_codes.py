"""Pairs of 64-bit codes that differ in few bits: all of them, without comparing every code with every other.

Codes that differ in at most r bits differ in at most r // 3 of one of their three bands of 21 or 22 bits. So the codes are put into buckets
by each band, and for each code the buckets are looked into whose band differs in so few bits. For r = 8 these are 718 buckets, which hold
about 280 of a million codes that are spread evenly.
Reference: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers

Codes: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Found: TypeAlias = tuple[Integers, Integers, Bytes]

WIDTHS = (22, 21, 21)  # bits of each band
FARTHEST = 3 * len(WIDTHS) - 1  # beyond it too many buckets would be looked into
FEW = 1 << 30  # pairs that are compared one by one in a few seconds
_BLOCK = 1 << 20  # pairs compared at once: 8 MB


@final
@dataclass(frozen=True, eq=False)
class CodeIndex:
    """Codes [N] that can be searched."""

    codes: Codes

    def near(self, asked: Codes, distance: int, *, of: int = 0) -> Iterator[Found]:
        """The pairs within `distance` bits, each once, in blocks: (place in the index, place in `asked`, differing bits).

        `of`: how many codes will be asked for in all; so few that every pair can be compared are, and so are distances beyond FARTHEST.
        """
        if len(self.codes) * max(of, len(asked)) <= FEW or distance > FARTHEST:
            yield from _one_by_one(self.codes, asked, distance)
            return
        for band in range(len(WIDTHS)):
            yield from self._by_band(band, asked, distance)

    def _by_band(self, band: int, asked: Codes, distance: int) -> Iterator[Found]:
        order, starts = self._buckets[band]
        keys, most = _band(asked, band), distance // len(WIDTHS)
        for flip in _flips(WIDTHS[band], most):
            probed = keys ^ flip
            low = starts[probed]
            times = starts[probed + 1] - low
            for place, member in _members(low, times):
                left = order[member]
                differing = self.codes[left] ^ asked[place]
                apart = count_bits(differing)
                kept = np.flatnonzero(apart <= distance)
                for earlier in range(band):  # what an earlier band has found is not found again
                    kept = kept[count_bits(_band(differing[kept], earlier).astype(np.uint64)) > most]
                if len(kept):
                    yield left[kept], place[kept], apart[kept]

    @cached_property
    def _buckets(self) -> list[tuple[Integers, Integers]]:
        """For each band: (the codes in order of it, where the bucket of each value begins)."""
        made = []
        for band, width in enumerate(WIDTHS):
            keys = _band(self.codes, band)
            starts = np.zeros((1 << width) + 1, dtype=np.int64)
            np.cumsum(np.bincount(keys, minlength=1 << width), out=starts[1:])
            made.append((np.argsort(keys, kind="stable"), starts))
        return made


def _band(codes: Codes, band: int) -> Integers:
    return ((codes >> np.uint64(sum(WIDTHS[:band]))) & np.uint64((1 << WIDTHS[band]) - 1)).astype(np.int64)


def _flips(width: int, most: int) -> list[int]:
    """All numbers of this many bits of which at most `most` are one."""
    return [sum(1 << bit for bit in bits) for count in range(most + 1) for bits in combinations(range(width), count)]


def _members(low: Integers, times: Integers) -> Iterator[tuple[Integers, Integers]]:
    """(place [P], member [P]) for each member low[place], ... of the bucket of each place, at most about _BLOCK at once."""
    filled = np.flatnonzero(times)
    ends = np.cumsum(times[filled])
    first = 0
    while first < len(filled):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        part = filled[first:last]
        many = times[part]
        offset = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(part, many), np.repeat(low[part], many) + offset
        first = last


def _one_by_one(a: Codes, b: Codes, distance: int) -> Iterator[Found]:
    step = max(1, _BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        apart = count_bits(a[start : start + step, None] ^ b[None])
        left, right = np.nonzero(apart <= distance)
        yield left + start, right, apart[left, right]


_BITS_OF_16 = np.array([bin(i).count("1") for i in range(1 << 16)], dtype=np.uint8)


def count_bits(codes: Codes) -> Bytes:
    """The number of one bits in each of the codes, of any shape."""
    if hasattr(np, "bitwise_count"):
        counted: Bytes = np.bitwise_count(codes)
        return counted
    added: Bytes = _BITS_OF_16[codes[..., None].view(np.uint16)].sum(-1, dtype=np.uint8)  # NumPy 1
    return added
