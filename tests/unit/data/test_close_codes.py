"""Codes that differ in few bits, found by buckets, beside every pair compared by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.data.near import close_codes
from fewtune.data.near.close_codes import CodeIndex, Codes

Triples = set[tuple[int, int, int]]


def near(index: CodeIndex, asked: Codes, distance: int) -> Triples:
    found = [tuple(part.tolist() for part in block) for block in index.near(asked, distance)]
    triples = [(i, j, bits) for left, right, apart in found for i, j, bits in zip(left, right, apart, strict=True)]
    assert len(set(triples)) == len(triples)  # each pair once
    return set(triples)


def by_hand(a: Codes, b: Codes, distance: int) -> Triples:
    return {
        (i, j, bits) for i, x in enumerate(a.tolist()) for j, y in enumerate(b.tolist()) if (bits := int(x ^ y).bit_count()) <= distance
    }


def codes(count: int, seed: int) -> Codes:
    """Half of them are copies of the others with 0, 1, ... 10 bits changed, all over the 64."""
    random = np.random.default_rng(seed)
    made = random.integers(0, 1 << 64, count, dtype=np.uint64)
    for i in range(count // 2):
        flipped = random.choice(64, i % 11, replace=False).tolist()
        made[count // 2 + i] = made[i] ^ np.uint64(sum(1 << bit for bit in flipped))
    return made


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_buckets_give_every_pair_once(distance: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_codes, "FEW", 0)
    monkeypatch.setattr(close_codes, "_BLOCK", block)
    a, b = codes(60, 1), np.concatenate([codes(60, 1)[::-1], codes(20, 2)])
    found = near(CodeIndex(a), b, distance)
    assert found == by_hand(a, b, distance)
    assert any(bits == distance for _, _, bits in found)


def test_bits_may_differ_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bits in one band, and eight over all three."""
    monkeypatch.setattr(close_codes, "FEW", 0)
    zero = np.zeros(1, dtype=np.uint64)
    for bits in ([*range(8)], [*range(56, 64)], [0, 1, 2, 22, 23, 24, 43, 44], [20, 21, 22, 23, 42, 43, 62, 63]):
        other = np.array([sum(1 << bit for bit in bits)], dtype=np.uint64)
        assert near(CodeIndex(zero), other, 8) == {(0, 0, 8)}
        assert near(CodeIndex(other), zero, 7) == set()


def test_equal_codes_fill_one_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_codes, "FEW", 0)
    monkeypatch.setattr(close_codes, "_BLOCK", 50)
    same = np.full(40, 7, dtype=np.uint64)
    assert near(CodeIndex(same), same, 8) == {(i, j, 0) for i in range(40) for j in range(40)}


def test_few_codes_and_far_ones_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = codes(30, 3), codes(30, 4)
    assert near(CodeIndex(a), b, 8) == by_hand(a, b, 8)
    monkeypatch.setattr(close_codes, "FEW", 0)
    assert near(CodeIndex(a), b, 30) == by_hand(a, b, 30)
    assert near(CodeIndex(a), b[:0], 8) == set()
    assert near(CodeIndex(a[:0]), b, 8) == set()
