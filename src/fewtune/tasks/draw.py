"""Uniform draws without replacement, for many episodes at once and independent of how many are drawn together.

Every draw is the same Fisher-Yates shuffle cut after m steps, with its random numbers taken from counters (episode, slot, step). It is
computed in one of three ways with the same outcome: on whole arrays, or (few draws from many) by remembering the swaps alone, or, where
there are many draws and the extra `fast`, by a compiled kernel.
"""

from __future__ import annotations

import numpy as np

from fewtune.data.examples import Integers
from fewtune.fast import taken
from fewtune.keys import Counters, Key

_BLOCK = 1 << 18  # array elements at a time: what fits the cache
_WIDE = 1 << 20  # of decks, where lanes want many draws: fewer and longer steps


def choose(key: Key, episodes: Integers, sizes: Integers, draws: int) -> Integers:
    """For each episode [E] and slot of `sizes` [E, K]: `draws` distinct integers in [0, size), in random order, [E, K, draws].

    Where a size is below `draws`, the entries past the size are -1. `episodes` are the episodes' own numbers (the counters).
    """
    count, slots = sizes.shape
    if taken(None, count * slots * draws):
        wanted = np.minimum(sizes, draws)
        out = np.full((count, slots, draws), -1, dtype=np.int64)
        out[np.arange(draws) < wanted[..., None]] = _compiled(key, episodes, sizes, wanted)
        return out
    widest = max(int(sizes.max(initial=1)), draws, 1)
    sparse = draws * 8 < widest or draws <= 24
    step = max(1, _BLOCK // (slots * (draws if sparse else widest) + 1))
    out = np.empty((count, slots, draws), dtype=np.int64)
    for first in range(0, count, step):
        part = slice(first, first + step)
        base, flat = _counters(episodes[part], slots).reshape(-1), sizes[part].reshape(-1)
        offsets = _offsets(key, base, flat, draws)
        out[part] = (_sparse(offsets) if sparse else _dense(offsets, widest)).T.reshape(-1, slots, draws)
        np.copyto(out[part], -1, where=np.arange(draws) >= flat.reshape(-1, slots, 1))
    return out


def choose_each(key: Key, episodes: Integers, sizes: Integers, draws: Integers) -> Integers:
    """The same with a number of `draws` [E, K] for each slot, at most its size: one slot's after another's, [sum of draws].

    Slots with about as many draws are shuffled together, so that none is computed past what it wants by more than a few steps.
    """
    if taken(None, int(draws.sum())):
        return _compiled(key, episodes, sizes, draws)
    wanted, flat, base = draws.reshape(-1), sizes.reshape(-1), _counters(episodes, draws.shape[1]).reshape(-1)
    starts = np.cumsum(wanted) - wanted
    out = np.empty(int(wanted.sum()), dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    order = order[np.searchsorted(wanted[order], 1) :]
    while len(order):
        fewest, widest = int(wanted[order[0]]), int(flat[order].max())
        together = int(np.searchsorted(wanted[order], fewest + max(2, fewest // 8), side="right"))
        mine, order = order[: min(together, max(1, _WIDE // widest))], order[min(together, max(1, _WIDE // widest)) :]
        most = int(wanted[mine[-1]])
        offsets = _offsets(key, base[mine], flat[mine], most)
        cards = (_sparse(offsets) if most <= 24 else _dense(offsets, widest)).T
        step = np.arange(most)
        inside = step < wanted[mine][:, None]
        out[(starts[mine][:, None] + step)[inside]] = cards[inside]
    return out


def _compiled(key: Key, episodes: Integers, sizes: Integers, draws: Integers) -> Integers:
    """`choose_each` by the kernel."""
    from fewtune.tasks.draw_kernel import shuffle

    out = np.empty(int(draws.sum()), dtype=np.int64)
    sizes, draws = np.ascontiguousarray(sizes, dtype=np.int64), np.ascontiguousarray(draws, dtype=np.int64)
    shuffle(np.uint64(key.value), episodes.astype(np.uint64), sizes, draws, out)
    return out


def _counters(episodes: Integers, slots: int) -> Counters:
    """[E, K]: the counter of each slot's first step."""
    slot = np.arange(slots, dtype=np.uint64) << np.uint64(16)
    return (episodes.astype(np.uint64) << np.uint64(32))[:, None] + slot


def _offsets(key: Key, base: Counters, sizes: Integers, draws: int) -> Integers:
    """[draws, lanes]: step j's partner of position j, uniform in [j, size) (clamped to j past the size)."""
    step = np.arange(draws, dtype=np.int64)[:, None]
    left = np.maximum(sizes[None, :] - step, 1)
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
