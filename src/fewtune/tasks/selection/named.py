"""The choices that are compared with each other, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from fewtune.tasks.selection.consistency import ConsistencyDiversity
from fewtune.tasks.selection.rows import Less, NearestRow, RoundRobin
from fewtune.tasks.selection.score import Ranked
from fewtune.tasks.selection.trace import Traced


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


def round_robin(most: int = 50) -> RoundRobin:
    """The labelled examples take turns: each takes the task with the row nearest to it that is left."""
    return RoundRobin(rows=NearestRow(), most=most)


def gradients(most: int = 50) -> Ranked:
    """The tasks whose rows would move a linear layer the way the labelled examples would (`Less`)."""
    return Ranked(score=Less(), most=most)


def seeded(selection: Traced, seed: int) -> Traced:
    """The same selection, with this seed if it draws at random and has none of its own (0)."""
    return replace(selection, seed=seed) if isinstance(selection, ConsistencyDiversity) and not selection.seed else selection


CHOICES: Mapping[str, Callable[[], ConsistencyDiversity | RoundRobin | Ranked]] = {
    "consistency_diversity": consistency_diversity,
    "no_consistency": no_consistency,
    "no_diversity": no_diversity,
    "round_robin": round_robin,
    "gradients": gradients,
    "random": random_tasks,
    "all": all_tasks,
}
