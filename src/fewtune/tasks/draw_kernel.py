"""The draws of `fewtune.tasks.draw` as a compiled kernel, number by number the same."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from fewtune.compiled import compiled

Array: TypeAlias = np.ndarray[Any, Any]

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
A, B, C, HALF, SLOT = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(16)


@compiled
def shuffle(key: Any, episodes: Array, sizes: Array, draws: Array, out: Array) -> None:
    """The first `draws` [E, K] cards of a shuffle of [0, sizes[e, k]) in each lane, one lane after another in `out` [sum of draws].

    `key` (uint64) and `episodes` [E] (uint64) as in `Key.below`. Draws are at most the size of their lane.
    """
    deck = np.arange(max(sizes.max(), 1)).astype(np.int64)  # a card that was drawn is never looked at again, so position j keeps its own
    touched, at = np.empty(max(draws.max(), 1), np.int64), 0
    for e in range(len(episodes)):
        for k in range(sizes.shape[1]):
            count, size = draws[e, k], sizes[e, k]
            base = (episodes[e] << HALF) + (np.uint64(k) << SLOT)
            for j in range(count):
                mixed = (base + np.uint64(j)) * GOLDEN + key
                mixed = (mixed ^ (mixed >> A)) * FIRST
                mixed = (mixed ^ (mixed >> B)) * SECOND
                mixed ^= mixed >> C
                partner = j + np.int64(((mixed >> HALF) * np.uint64(size - j)) >> HALF)
                touched[j], out[at + j] = partner, deck[partner]
                deck[partner] = deck[j]
            for j in range(count):
                deck[touched[j]] = touched[j]  # as it was before this lane
            at += count
