"""The choices that are compared with each other, by name: one function in five settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from fewtune.tasks.selection.consistency import ConsistencyDiversity


def consistency_diversity(p: float = 0.0, mode: Literal["stop", "skip"] = "stop", most: int = 0) -> ConsistencyDiversity:
    """Selected: the nearest first, as long as coverage grows."""
    return ConsistencyDiversity(p=p, mode=mode, most=most)


def no_consistency(p: float = 0.0, mode: Literal["stop", "skip"] = "stop", most: int = 0, seed: int = 0) -> ConsistencyDiversity:
    """No Con.: in random order, as long as coverage grows."""
    return ConsistencyDiversity(p=p, mode=mode, most=most, seed=seed, order="random")


def no_diversity(most: int = 50) -> ConsistencyDiversity:
    """No Div.: the nearest tasks, 50 as in the paper; to compare fairly, as many as were selected."""
    return ConsistencyDiversity(most=most, diversity=False)


def random_tasks(most: int = 50, seed: int = 0) -> ConsistencyDiversity:
    """Random tasks, chosen without consistency and diversity. Needs no features."""
    return ConsistencyDiversity(most=most, seed=seed, order="random", diversity=False)


def all_tasks() -> ConsistencyDiversity:
    """All: every candidate, as given. Needs no features."""
    return ConsistencyDiversity(order="given", diversity=False)


CHOICES: Mapping[str, Callable[[], ConsistencyDiversity]] = {
    "consistency_diversity": consistency_diversity,
    "no_consistency": no_consistency,
    "no_diversity": no_diversity,
    "random": random_tasks,
    "all": all_tasks,
}
