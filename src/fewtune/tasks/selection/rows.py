"""How useful a candidate task is for each labelled example of the target, and two choices made of it: turn by turn, and by LESS.

A row score gives S [S, T], one number for each row of the support and each candidate: the best over the candidate's own rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.tasks.candidates import source_of
from fewtune.tasks.sampler import at_least
from fewtune.tasks.selection.evidence import Evidence, Floats, needed
from fewtune.tasks.selection.means import cosines, unit
from fewtune.tasks.selection.score import rows_and_places
from fewtune.tasks.selection.trace import Look, Trace, make_trace
from fewtune.tasks.task import Tasks


@runtime_checkable
class RowScore(Protocol):
    """The axis of row scores: [S, T] in float64, higher for a better source. A candidate's numbers do not depend on the others."""

    def score_rows(self, tasks: Tasks, evidence: Evidence) -> Floats: ...


@final
@dataclass(frozen=True, kw_only=True)
class NearestRow:
    """The cosine of a support row's features with those of the candidate's nearest row, in [-1, 1]."""

    def score_rows(self, tasks: Tasks, evidence: Evidence) -> Floats:
        used = np.unique(tasks.slots)
        best = np.zeros((len(evidence.support), len(tasks.count)))  # of each slot, so that a class is read once
        for slot in used.tolist():
            rows = tasks.order[tasks.start[slot] : tasks.start[slot] + tasks.count[slot]]
            best[:, slot] = cosines(evidence.support, evidence.read(rows)).max(axis=1)
        found: Floats = np.maximum.reduceat(best[:, tasks.slots], tasks.bounds[:-1], axis=1)
        return found


@final
@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """The best cosine of a support row's gradient with that of a row of the candidate, in [-1, 1].

    The gradient is that of a row's cross-entropy by a linear map M of its unit features x, at M = 1. The logits are
    temperature x w_c . M x, and w_c is the unit mean of class c in the row's own task. It is the outer product of (p - y) W and x, so the
    cosine of two gradients is the product of two cosines, cos((p - y) W, (p' - y') W') cos(x, x'): no gradient is stored or projected.

    Reference: Xia et al., "LESS: selecting influential data for targeted instruction tuning", ICML 2024. Departs: theirs are projected
    gradients of a language model's LoRA weights, in Adam's direction, added up over checkpoints; ours is that of one linear layer at its
    start.
    """

    temperature: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"expected a temperature above 0, found {self.temperature}.")

    def score_rows(self, tasks: Tasks, evidence: Evidence) -> Floats:
        mine = row_slopes(evidence.support, evidence.labels, self.temperature)
        found = np.zeros((len(mine), len(tasks)))
        with threadpool_limits(1, "blas"):  # matrices this small gain little from two threads
            for t in range(len(tasks)):
                rows, places = rows_and_places(tasks, t, evidence)
                slopes = row_slopes(rows, places, self.temperature)
                found[:, t] = (cosines(mine, slopes) * cosines(evidence.support, rows)).max(axis=1)
        return found


def row_slopes(features: Floats, labels: Integers, temperature: float) -> Floats:
    """(p - y) W [n, D] of rows [n, D] with labels 0..K-1: the gradient of each row's cross-entropy by its mapped unit features, divided by
    the temperature."""
    rows = unit(features)
    members = np.eye(int(labels.max()) + 1)[labels]
    means = unit(members.T @ rows)
    logits = temperature * rows @ means.T
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    slopes: Floats = (raised / raised.sum(axis=1, keepdims=True) - members) @ means
    return slopes


@final
@dataclass(frozen=True, kw_only=True)
class Less:
    """`GradientRow`, its mean over the support rows of each class of the target, and of these means the largest.

    Reference: Xia et al., "LESS", ICML 2024 (the mean inside a subtask, the maximum over subtasks). Departs: a candidate is a task, not a
    row, and a class of the target stands for a subtask; see `GradientRow`.
    """

    temperature: float = 10.0

    def __post_init__(self) -> None:
        GradientRow(temperature=self.temperature)

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        each = GradientRow(temperature=self.temperature).score_rows(tasks, evidence)
        members = evidence.labels == np.arange(evidence.labels.max() + 1)[:, None]
        best: Floats = ((members / members.sum(axis=1, keepdims=True)) @ each).max(axis=0)
        return best


@final
@dataclass(frozen=True, kw_only=True)
class RoundRobin:
    """The support rows take turns, in their order: each takes the candidate that is best for it and not yet taken, until there are `most`
    (0: all). Equals keep their places.

    Every labelled example is heard, also one that is unlike the mean of the target. The order of the rows decides who takes a candidate
    that two of them want, and which rows miss the last turn.

    Reference: round robin over query rows as in github.com/dcml-lab/targeted-instruction-selection (ICML 2026). Departs: a candidate is a
    task, and its number for a row is the best over its own rows.
    """

    rows: RowScore = NearestRow()
    most: int = 50

    def __post_init__(self) -> None:
        at_least("most", self.most, 0)

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:
        return tasks.take(self.trace(tasks, evidence).taken)

    def trace(self, tasks: Tasks, evidence: Evidence | None = None) -> Trace:
        """The chosen candidates in the order they were taken, then the others. `similarity` is the score for the row that took the
        candidate (for the others, for the row it suits best)."""
        if not len(tasks):
            raise InputError("expected at least one candidate task to choose from, found none.")
        scores = self.rows.score_rows(tasks, needed(evidence, type(self).__name__))
        turns = take_turns(scores, self.most or len(tasks))
        looks = [_look(tasks, t, scores[s, t], True, f"the best left for example {s + 1}") for s, t in turns]
        best = scores.max(axis=0)
        left = np.setdiff1d(np.argsort(-best, kind="stable"), [t for _, t in turns], assume_unique=True)
        return make_trace([*looks, *(_look(tasks, t, best[t], False, "beyond the best") for t in left.tolist())])


def take_turns(scores: Floats, most: int) -> list[tuple[int, int]]:
    """(row, candidate) of `most` turns over scores [S, T], or of as many as there are candidates."""
    ranked = np.argsort(-scores, axis=1, kind="stable").tolist()
    ahead = [iter(order) for order in ranked]
    taken: dict[int, int] = {}
    while len(taken) < min(most, scores.shape[1]):
        for row, order in enumerate(ahead):
            if len(taken) == min(most, scores.shape[1]):
                break
            taken[next(t for t in order if t not in taken)] = row
    return [(row, t) for t, row in taken.items()]


def _look(tasks: Tasks, place: int, score: float, taken: bool, reason: str) -> Look:
    name = tasks.names[place]
    return Look(place, name, source_of(name), float(score), math.nan, math.nan, taken, reason)


ROW_SCORES = (NearestRow, GradientRow)
