"""A choice of tasks beside as many random ones and beside all, by the same two numbers, whatever it was chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.tasks.selection.evidence import Evidence, Floats
from fewtune.tasks.selection.means import similarities
from fewtune.tasks.selection.moments import coverage, moments_of
from fewtune.tasks.task import Tasks

DRAWS = 10  # random choices that are averaged


@final
@dataclass(frozen=True)
class Suits:
    """How some tasks suit a target, by frozen features: the mean `similarity` of the tasks, cosine(mu_0, mu_i), and the `coverage` of the
    target by their distinct rows (see `moments.coverage`). `tasks`: how many they are."""

    tasks: int
    similarity: float
    coverage: float


def beside(taken: Integers, tasks: Tasks, evidence: Evidence, seed: int = 0) -> dict[str, Suits]:
    """The chosen tasks (`taken`: their places), as many random ones (the mean of ten draws from `seed`), and all candidates.

    Raises InputError where features do not fit.
    """
    alike = similarities(tasks, evidence)
    draws = [key(seed, "beside", i).generator().permutation(len(tasks))[: len(taken)] for i in range(DRAWS)]
    random = [_suits(places, tasks, alike, evidence) for places in draws]
    return {
        "chosen": _suits(taken, tasks, alike, evidence),
        "random": Suits(len(taken), float(np.mean([one.similarity for one in random])), float(np.mean([one.coverage for one in random]))),
        "all": _suits(np.arange(len(tasks)), tasks, alike, evidence),
    }


def _suits(places: Integers, tasks: Tasks, alike: Floats, evidence: Evidence) -> Suits:
    slots = np.unique(np.concatenate([tasks.slots_of(int(place)) for place in places]))
    rows = np.unique(np.concatenate([tasks.order[tasks.start[s] : tasks.start[s] + tasks.count[s]] for s in slots]))
    away = evidence.read(rows) - evidence.centre
    return Suits(len(places), float(alike[places].mean()), coverage(moments_of(away), np.zeros(away.shape[1])))
