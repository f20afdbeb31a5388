"""Which tasks should be trained together: at most so many groups, so that each task is in a group whose other tasks help it.

Reference: Fifty et al., "Efficiently identifying task groupings for multi-task learning" (TAG), NeurIPS 2021. A task j in a group g has the
score mean_{i in g, i != j} Z_{i->j}. Departs: their singletons may never be chosen; here a task alone has a score of its own (0: it
is neither helped nor harmed), and up to `EXACT` tasks the best choice is found by branch and bound instead of by visiting all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.group_search import NODES, best_groups, climb, every_group, group_scores, undominated
from fewtune.statistics.sample import Floats, Numbers, finite

EXACT = 12  # tasks up to which all 2^T - 1 groups are looked at


@final
@dataclass(frozen=True)
class Grouping:
    """Chosen groups of tasks (numbers, ascending; they may share tasks). `served[j]` is the group whose answer for task j is used (ties:
    the first), `scores[j]` the score of j in it, and `value` the mean of the scores. `exact`: no other choice has a larger value.
    """

    groups: tuple[tuple[int, ...], ...]
    served: tuple[int, ...]
    scores: tuple[float, ...]
    value: float
    exact: bool


def choose_groups(affinity: Numbers, budget: int, alone: Numbers = 0.0, nodes: int = NODES) -> Grouping:
    """At most `budget` groups that cover all T tasks and have the largest mean score, from an affinity [T, T].

    affinity[i, j] says how much task i helps task j (the diagonal is not read); `alone`, one number or [T], is the score of a task that
    is trained by itself. A task may be in several groups; in some it may only help. Up to 12 tasks the choice is exact unless the search
    would visit more than `nodes` nodes; above, groups are grown greedily and then improved one by one (no guarantee). Groups that serve no
    task are left out. Raises ValueError for other shapes, numbers that are not finite and a budget below 1.
    """
    helped = finite(affinity, "affinities")
    if helped.ndim != 2 or helped.shape[0] != helped.shape[1] or len(helped) == 0:
        raise ValueError(f"expected affinities [tasks, tasks], found shape {helped.shape}.")
    if budget < 1:
        raise ValueError(f"expected a budget of at least 1 group, found {budget}.")
    tasks = len(helped)
    single = np.broadcast_to(finite(alone, "scores of tasks alone"), (tasks,))
    if tasks > EXACT:
        return _grouping(climb(helped, single, budget), helped, single, False)
    every = every_group(tasks)
    scores = group_scores(every, helped, single)
    keep = undominated(scores)
    groups, exact = best_groups(every[keep], scores[keep], budget, nodes)
    return _grouping(groups, helped, single, exact)


def _grouping(groups: npt.NDArray[np.bool_], affinity: Floats, alone: Floats, exact: bool) -> Grouping:
    scores = group_scores(groups, affinity, alone)
    serving = sorted(set(scores.argmax(0).tolist()))
    groups, scores = groups[serving], scores[serving]
    best = scores.max(0)
    return Grouping(
        tuple(tuple(np.flatnonzero(group).tolist()) for group in groups),
        tuple(scores.argmax(0).tolist()),
        tuple(best.tolist()),
        float(best.mean()),
        exact,
    )
