"""Score: the axis of how useful a candidate task is for a target, by frozen features; and the choice of the best tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.tasks.candidates import source_of
from fewtune.tasks.sampler import at_least
from fewtune.tasks.selection.evidence import Evidence, Floats, needed
from fewtune.tasks.selection.means import cosines, similarities, slot_sums, unit
from fewtune.tasks.selection.trace import Look, Trace, make_trace
from fewtune.tasks.task import Tasks


@runtime_checkable
class Score(Protocol):
    """The axis of scores: [T] numbers in float64, higher for a better source. A candidate's does not depend on the other candidates."""

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats: ...


@final
@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The `most` candidates of the highest score, the best first; 0 for all of them. Equals keep their places."""

    score: Score
    most: int = 50

    def __post_init__(self) -> None:
        at_least("most", self.most, 0)

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:
        return tasks.take(self.trace(tasks, evidence).taken)

    def trace(self, tasks: Tasks, evidence: Evidence | None = None) -> Trace:
        """Every candidate in the order of its score, which is recorded as `similarity`."""
        if not len(tasks):
            raise InputError("expected at least one candidate task to choose from, found none.")
        score = self.score.score(tasks, needed(evidence, type(self).__name__))
        looks = []
        for rank, place in enumerate(np.argsort(-score, kind="stable").tolist()):
            taken = not self.most or rank < self.most
            name, reason = tasks.names[place], "among the best" if taken else "beyond the best"
            looks.append(Look(place, name, source_of(name), float(score[place]), math.nan, math.nan, taken, reason))
        return make_trace(looks)


@final
@dataclass(frozen=True, kw_only=True)
class MeanCosine:
    """cosine(mu_0, mu_i) of the target's mean and the candidate's: what `ConsistencyDiversity` ranks by."""

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        return similarities(tasks, evidence)


@final
@dataclass(frozen=True, kw_only=True)
class NearestClasses:
    """The mean over the target's classes of the best cosine of their mean with the candidate's class means.

    Use it where the mean of a task says little about its classes: it looks for a similar class for each class of the target.
    """

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        near = cosines(slot_sums(tasks, evidence), target_means(evidence))  # [slots, K]
        best = np.maximum.reduceat(near[tasks.slots], tasks.bounds[:-1], axis=0)
        found: Floats = best.mean(axis=1)
        return found


def target_means(evidence: Evidence) -> Floats:
    """The mean of the support's features for each class of the target [K, D]."""
    members = evidence.labels == np.arange(evidence.labels.max() + 1)[:, None]
    means: Floats = (members / members.sum(axis=1, keepdims=True)) @ evidence.support
    return means


def rows_and_places(tasks: Tasks, number: int, evidence: Evidence) -> tuple[Floats, Integers]:
    """The features [n, D] of a candidate's rows, and the place [n] of each row's class in the candidate."""
    mine = tasks[number].rows
    return evidence.read(np.concatenate(mine)), np.repeat(np.arange(len(mine)), [len(rows) for rows in mine])


def responses(tasks: Tasks, evidence: Evidence) -> Iterator[Floats]:
    """For each candidate, cosine of the target's support features with its class means [S, ways]: what a frozen backbone with the nearest
    class mean of the candidate on top, instead of a network trained on it, says of the target."""
    near = unit(evidence.support) @ unit(slot_sums(tasks, evidence)).T
    for t in range(len(tasks)):
        yield near[:, tasks.slots_of(t)]
