"""How much more coverage a task has to bring: tried on validation tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fewtune.errors import InputError
from fewtune.tasks.selection.consistency import ConsistencyDiversity
from fewtune.tasks.selection.evidence import Evidence
from fewtune.tasks.task import Tasks


def choose_p(
    selection: ConsistencyDiversity,
    values: Sequence[float],
    tasks: Tasks,
    evidence: Evidence,
    evaluate: Callable[[Tasks], float],
) -> ConsistencyDiversity:
    """The selection with the p of `values` whose tasks `evaluate` scores best: a score on validation tasks, higher is better.

    `evaluate` (which trains, and never sees the target's query) is called once for each distinct set of chosen tasks. Of equals the
    larger p wins: fewer tasks, as good.
    """
    if not values:
        raise InputError("expected at least one value of p to try, found none.")
    score: dict[frozenset[int], float] = {}
    best: tuple[float, ConsistencyDiversity] | None = None
    for p in sorted(values, reverse=True):
        tried = replace(selection, p=p)
        taken = tried.trace(tasks, evidence).taken
        chosen = frozenset(taken.tolist())
        if chosen not in score:
            score[chosen] = evaluate(tasks.take(taken))
        if best is None or score[chosen] > best[0]:
            best = score[chosen], tried
    assert best is not None
    return best[1]
