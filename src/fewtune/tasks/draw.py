"""Uniform draws without replacement, for many episodes at once and independent of how many are drawn together.

Every draw is the same Fisher-Yates shuffle cut after m steps, with its random numbers taken from counters (episode, slot, step). It is
computed in one of two ways with the same outcome: on whole arrays, or (few draws from many) by remembering the swaps alone.
"""

from __future__ import annotations

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import Key

_BLOCK = 1 << 18  # array elements at a time: what fits the cache


def choose(key: Key, episodes: Integers, sizes: Integers, draws: int) -> Integers:
    """For each episode [E] and slot of `sizes` [E, K]: `draws` distinct integers in [0, size), in random order, [E, K, draws].

    Where a size is below `draws`, the entries past the size are -1. `episodes` are the episodes' own numbers (the counters).
    """
    count, slots = sizes.shape
    widest = max(int(sizes.max(initial=1)), draws, 1)
    sparse = draws * 8 < widest or draws <= 24
    step = max(1, _BLOCK // (slots * (draws if sparse else widest) + 1))
    out = np.empty((count, slots, draws), dtype=np.int64)
    for first in range(0, count, step):
        part = slice(first, first + step)
        offsets = _offsets(key, episodes[part], sizes[part], draws)
        flat = sizes[part].reshape(-1)
        out[part] = (_sparse(offsets) if sparse else _dense(offsets, widest)).T.reshape(-1, slots, draws)
        np.copyto(out[part], -1, where=np.arange(draws) >= flat.reshape(-1, slots, 1))
    return out


def _offsets(key: Key, episodes: Integers, sizes: Integers, draws: int) -> Integers:
    """[draws, E * K]: step j's partner of position j, uniform in [j, size) (clamped to j past the size)."""
    slot = np.arange(sizes.shape[1], dtype=np.uint64) << np.uint64(16)
    base = ((episodes.astype(np.uint64) << np.uint64(32))[:, None] + slot).reshape(-1)
    step = np.arange(draws, dtype=np.int64)[:, None]
    left = np.maximum(sizes.reshape(-1)[None, :] - step, 1)
    return step + key.below(left, base[None, :] + step.astype(np.uint64))


def _dense(offsets: Integers, widest: int) -> Integers:
    draws, lanes = offsets.shape
    deck = np.broadcast_to(np.arange(widest, dtype=np.int64)[:, None], (widest, lanes)).copy()
    lane = np.arange(lanes)
    for j in range(draws):
        deck[j], deck[offsets[j], lane] = deck[offsets[j], lane].copy(), deck[j].copy()
    return deck[:draws]


def _sparse(offsets: Integers) -> Integers:
    """What `_dense` does, remembering only position j's card at the time of each swap: O(draws^2) and no deck."""
    narrow = offsets.astype(np.int32)
    draws, lanes = narrow.shape
    drawn = np.empty((draws, lanes), dtype=np.int32)
    moved = np.empty((draws, lanes), dtype=np.int32)  # moved[i]: the card put at position offsets[i] by swap i
    for j in range(draws):
        partner = narrow[j].copy()
        here = np.full(lanes, j, dtype=np.int32)
        for i in range(j):  # the latest swap that touched a position wins
            np.copyto(partner, moved[i], where=narrow[i] == narrow[j])
            np.copyto(here, moved[i], where=narrow[i] == j)
        drawn[j] = partner
        moved[j] = here
    return drawn.astype(np.int64)
