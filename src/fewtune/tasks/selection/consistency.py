"""Consistency and diversity: the tasks nearest to the target, as long as they cover it better and better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.candidates import source_of
from fewtune.tasks.sampler import at_least
from fewtune.tasks.selection.evidence import Evidence, Floats, needed
from fewtune.tasks.selection.means import cosines, similarities
from fewtune.tasks.selection.moments import Moments, coverage, moments_of
from fewtune.tasks.selection.trace import Look, Trace, make_trace
from fewtune.tasks.task import Tasks

Order = Literal["similarity", "random", "given"]


@final
@dataclass(frozen=True, kw_only=True)
class ConsistencyDiversity:
    """Looks at the candidates in an order, and takes those that raise the coverage of the target by a share `p` or more.

    L <- {first}; then T is taken where coverage(L + T) >= (1 + p) coverage(L), coverage(L) = 1 / ((mu_0 - mu_L)^T C_L^-1 (mu_0 - mu_L)),
    mu_0 the mean of the target's support, mu_L and C_L the mean and the shrunk covariance of the rows of L (`coverage`). L is a set of
    rows: what is in it already adds nothing, whichever task brings it, and its gain is exactly 0.

    `order`: by cosine(mu_0, mu_i), the nearest first (equals keep their places); random, a function of `seed` and a task's name alone; as
    given. `mode`: "stop" ends at the first that is not taken, "skip" goes on behind it. `diversity` False takes them as they come, and
    coverage is not asked for. `most`: how many are taken at most, 0 for no bound.

    `p` is 0 by default: a task is taken as long as coverage does not fall. A set cannot go on growing by a fixed share (the n-th task
    moves a mean by about 1/n), so any p above 0 bounds the number of tasks in disguise, and one below 0 lets coverage fall; on real
    features gains are a few per cent to either side after the first five tasks. `choose_p` tries values on validation tasks.

    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024, algorithm 1 (`stop`).
    Departs: shrunk covariance, so that one task already has a coverage; target statistics from the support alone (theirs: all test
    images); L is a set of rows; `skip`.
    """

    p: float = 0.0
    mode: Literal["stop", "skip"] = "stop"
    order: Order = "similarity"
    diversity: bool = True
    most: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p) and self.p > -1):
            raise InputError(f"expected p above -1 (0.01 means one percent more coverage), found {self.p}.")
        if self.mode not in ("stop", "skip"):
            raise InputError(f"unknown mode {self.mode!r}: expected stop or skip.")
        if self.order not in ("similarity", "random", "given"):
            raise InputError(f"unknown order {self.order!r}: expected similarity, random or given.")
        at_least("most", self.most, 0)

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:
        """The tasks taken, in the order they were taken."""
        return tasks.take(self.trace(tasks, evidence).taken)

    def trace(self, tasks: Tasks, evidence: Evidence | None = None) -> Trace:
        """Every decision. Raises InputError where there is no candidate, and where features are needed and there is no evidence."""
        if not len(tasks):
            raise InputError("expected at least one candidate task to choose from, found none.")
        similarity = np.full(len(tasks), np.nan)
        if self.order == "similarity":
            similarity = similarities(tasks, needed(evidence, type(self).__name__))
        order = self._places(tasks, similarity)
        if not self.diversity:
            kept = order[: self.most or len(order)].tolist()
            reason = {"similarity": "among the nearest", "random": "drawn", "given": "as given"}[self.order]
            return make_trace([_look(tasks, i, similarity[i], math.nan, math.nan, True, reason) for i in kept])
        looks = []
        with threadpool_limits(1, "blas"):  # matrices this small gain little from two threads, and lose 30 times on a busy machine
            for look in self._walk(tasks, needed(evidence, type(self).__name__), order, similarity):
                looks.append(look)
                if self.mode == "stop" and not look.taken:
                    break
        return make_trace(looks)

    def _places(self, tasks: Tasks, similarity: Floats) -> Integers:
        if self.order == "given":
            return np.arange(len(tasks))
        if self.order == "random":
            drawn = key(self.seed, "selection")
            return np.argsort(np.array([drawn.child(name).value for name in tasks.names], dtype=np.uint64), kind="stable")
        return np.argsort(-similarity, kind="stable")

    def _walk(self, tasks: Tasks, evidence: Evidence, order: Integers, similarity: Floats) -> Iterator[Look]:
        """The decisions, one after another, each without knowing whether it is the last."""
        chosen = _Covered(evidence, np.zeros(int(tasks.order.max()) + 1, dtype=bool))
        count = 0
        for place in order.tolist():
            rows = np.unique(np.concatenate(tasks[place].rows))
            likeness = similarity[place]
            if math.isnan(likeness):  # in another order it has not been computed yet
                likeness = cosines(evidence.read(rows).mean(axis=0, keepdims=True), evidence.centre[None])[0, 0]
            together = chosen.along(rows)
            gain = _gain(chosen.coverage, together.coverage)
            taken = not count or gain >= self.p
            reason = "first" if not count else "no new rows" if together is chosen else _said(gain, taken)
            yield _look(tasks, place, likeness, together.coverage, gain if count else math.nan, taken, reason)
            if taken:
                chosen, count = together.kept(rows), count + 1
            if count == self.most > 0:
                return


@final
@dataclass(frozen=True, eq=False)
class _Covered:
    """A set of rows, and how well it covers the target. Moments are taken about the target's mean, where coverage looks from."""

    evidence: Evidence
    inside: np.ndarray[Any, np.dtype[np.bool_]]
    moments: Moments | None = None
    coverage: float = field(default=0.0)

    def along(self, rows: Integers) -> _Covered:
        """This set with more rows; itself where it has them all. `inside` is not yet changed: see `kept`."""
        new = rows[~self.inside[rows]]
        if not len(new):
            return self
        more = moments_of(self.evidence.read(new) - self.evidence.centre)
        moments = more if self.moments is None else self.moments + more
        return _Covered(self.evidence, self.inside, moments, coverage(moments, np.zeros_like(moments.sum)))

    def kept(self, rows: Integers) -> _Covered:
        """The same, now that these rows are in it."""
        self.inside[rows] = True
        return self


def _gain(before: float, after: float) -> float:
    """after / before - 1; 0 where they are equal, also where both are 0 or infinite."""
    if after == before:
        return 0.0
    if before == 0:
        return math.inf
    return after / before - 1


def _said(gain: float, taken: bool) -> str:
    return (
        "covers more" if taken and gain > 0 else "covers too little more" if gain > 0 else "covers less" if gain < 0 else "covers as much"
    )


def _look(tasks: Tasks, place: int, similarity: float, covered: float, gain: float, taken: bool, reason: str) -> Look:
    name = tasks.names[place]
    return Look(place, name, source_of(name), float(similarity), covered, gain, taken, reason)
