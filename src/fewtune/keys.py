"""Randomness as a pure function of (seed, path): no global state, nothing to save, the same on every machine.

A `Key` is 64 bits derived from a seed and the names on the way to where the randomness is used. Numbers are drawn by
hashing counters with the key (SplitMix64's finalizer), so that draw number i never depends on how many came before it.
Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the finalizer, variant 13 of Stafford).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from fewtune.errors import InputError

if TYPE_CHECKING:
    import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)

Counters: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


@final
@dataclass(frozen=True)
class Key:
    """A place in the tree of randomness; `value` is in [0, 2**64)."""

    value: int

    def child(self, *path: str | int) -> Key:
        """The key of a place below this one."""
        text = "/".join(f"{type(part).__name__[0]}{part}" for part in path)
        digest = hashlib.blake2b(f"{self.value}:{text}".encode(), digest_size=8).digest()
        return Key(int.from_bytes(digest, "little"))

    def bits(self, counters: Counters) -> Counters:
        """64 random bits for each counter (any shape)."""
        with np.errstate(over="ignore"):
            mixed: Counters = counters * _GOLDEN
            mixed += np.uint64(self.value)
            mixed ^= mixed >> np.uint64(30)
            mixed *= _FIRST
            mixed ^= mixed >> np.uint64(27)
            mixed *= _SECOND
            mixed ^= mixed >> np.uint64(31)
        return mixed

    def uniform(self, counters: Counters) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Uniform floats in [0, 1) with 53 random bits, one for each counter."""
        return (self.bits(counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(
        self, bound: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | int, counters: Counters
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Uniform integers in [0, bound) for bound < 2**31 (multiply-shift; bias below bound / 2**32)."""
        high = self.bits(counters) >> np.uint64(32)
        return ((high * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)

    def generator(self) -> np.random.Generator:
        """A NumPy generator that starts at this key, for code that draws in sequence."""
        return np.random.default_rng(self.value)

    def torch_generator(self) -> torch.Generator:
        """A CPU torch generator that starts at this key."""
        import torch

        return torch.Generator().manual_seed(self.value & (2**63 - 1))


def key(seed: int, *path: str | int) -> Key:
    """The key of `path` under `seed`, for example `key(0, "episodes", "test")`."""
    return Key(0).child(seed, *path)


def check_seeds(seeds: Sequence[int], what: str = "seeds") -> None:
    """Raise InputError for no seed, and for one that is given twice: its run would count twice. `what`: what they are called."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"expected distinct {what}, found {', '.join(map(str, seeds)) or 'none'}.")
