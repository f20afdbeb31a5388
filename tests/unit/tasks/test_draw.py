"""Draws are the same numbers in whatever way they are computed, and those that they always were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fewtune.keys import key
from fewtune.tasks import draw
from fewtune.tasks.draw import choose, choose_each
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import Tasks

SIZES = np.array([[3, 9, 70], [0, 26, 5], [400, 1, 8]])
WANTED = np.array([[3, 2, 41], [0, 26, 0], [60, 1, 3]])
EPISODES = np.array([4, 900, 2**31])
ONE = np.arange(60)
UNEVEN = np.random.default_rng(1).integers(2, 130, 60)
TASKS = Tasks(np.arange(UNEVEN.sum()), np.cumsum(UNEVEN) - UNEVEN, UNEVEN, ONE, ONE, np.array([0, 23, 60]), ("a", "b"))
DRAWN = {
    "varied": (Varied(), "d42fef59eb519bacbe4f65ca85f3200a"),
    "rectangle": (Sampled(ways=5, shots=5), "a6db7963d8383bfac469f2269d01f9b2"),
    "ragged": (Sampled(ways=30, shots=5, ragged=True), "90aae4e68dcc0e90c8ccf50dc27f2aff"),
    "imbalanced": (Imbalanced(), "f0cac53d29501e6bb3ef17bf88e73aa9"),
}
each_way = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


@pytest.fixture
def way(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "taken", lambda *_: compiled)


def by_hand(episode: int, slot: int, size: int, draws: int) -> list[int]:
    """The first cards of a whole Fisher-Yates shuffle, one number after another."""
    deck = list(range(size))
    for j in range(draws):
        counter = np.array([(episode << 32) + (slot << 16) + j], dtype=np.uint64)
        partner = j + int(key(5).below(size - j, counter)[0])
        deck[j], deck[partner] = deck[partner], deck[j]
    return deck[:draws]


@each_way
def test_each_slot_has_the_first_cards_of_its_own_shuffle(way: None) -> None:  # noqa: ARG001
    found = choose_each(key(5), EPISODES, SIZES, WANTED)
    lanes = [(int(e), k, int(SIZES[i, k]), int(WANTED[i, k])) for i, e in enumerate(EPISODES) for k in range(3)]
    assert found.tolist() == [card for lane in lanes for card in by_hand(*lane)]
    for draws in (2, 30):  # few draws and many
        whole = choose(key(5), EPISODES, SIZES, draws)
        for i, episode in enumerate(EPISODES):
            for k in range(3):
                size = int(SIZES[i, k])
                assert whole[i, k].tolist() == by_hand(int(episode), k, size, min(size, draws)) + [-1] * max(0, draws - size)


@each_way
@pytest.mark.parametrize("kind", DRAWN)
def test_episodes_are_those_of_version_0_1(kind: str, way: None) -> None:  # noqa: ARG001
    sampler, digest = DRAWN[kind]
    made: Any = sampler
    assert made.draw(TASKS, key(7), 17, 40).digest() == digest
