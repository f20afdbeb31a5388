"""Rows in an endless sequence of epochs: each epoch is every row once, in a new random order that is keyed by its number."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import Key

_KEPT = 1 << 24  # places remembered in all, 4 bytes each
_orders: OrderedDict[tuple[Key, int, int], np.ndarray[tuple[int], np.dtype[np.int32]]] = OrderedDict()
_lock = Lock()


def epoch_batches(key: Key, numbers: Integers, size: int, total: int) -> Integers:
    """[E, size] places in [0, total): batch n holds the entries n x size .. (n + 1) x size - 1 of an endless sequence.

    Where a batch is a whole epoch the order says nothing, and places are in order.
    """
    if size == total:
        return np.tile(np.arange(total), (len(numbers), 1))
    wanted = numbers[:, None] * size + np.arange(size)
    epoch, place = wanted // total, wanted % total
    found = np.empty_like(wanted)
    for one in np.unique(epoch).tolist():
        here = epoch == one
        found[here] = epoch_order(key, one, total)[place[here]]
    return found


def epoch_order(key: Key, epoch: int, total: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """An epoch's permutation. The last ones are remembered: a batch of 32 need not shuffle 60,000 rows again."""
    with _lock:
        if (known := _orders.get((key, epoch, total))) is not None:
            _orders.move_to_end((key, epoch, total))
            return known
    made = key.child("epoch", epoch).generator().permutation(total).astype(np.int32)
    with _lock:
        _orders[key, epoch, total] = made
        held = sum(map(len, _orders.values()))
        while held > _KEPT and len(_orders) > 1:
            held -= len(_orders.popitem(last=False)[1])
    return made
