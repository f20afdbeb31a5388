"""Judging: every side answers the same folds of the target's labelled examples, each of which was held out from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

from fewtune.adaptation.frozen import FrozenModel
from fewtune.data.examples import Integers
from fewtune.errors import Diverged
from fewtune.learners.folds import Splits
from fewtune.sides.compared import Compared, Rule
from fewtune.sides.guard import FOLDS
from fewtune.sides.held_out import HeldOut, held_out, outer_splits
from fewtune.sides.job import Job
from fewtune.sides.progress import NOTHING
from fewtune.sides.route import FROZEN, Made, OutOfTimeError, Route
from fewtune.statistics import Evidence


@final
@dataclass(eq=False)
class Judging:
    """`frozen`: the model that the sides are compared with. `repeats`: of the folds; it is set before the first side is judged.

    The rest grows with every side: the `held`-out answers and the `routes` by name, and `notes`, a sentence on each side that could not be
    judged.
    """

    frozen: FrozenModel
    job: Job
    repeats: int = 1
    held: dict[str, HeldOut] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def splits(self) -> Splits:
        """The folds that all sides answer."""
        return outer_splits(self.frozen.target, self.job.seed, FOLDS, self.repeats)

    def judge(self, route: Route) -> None:
        """The held-out answers of a route, unless training diverges or the time ends."""
        with self.job.clock.stage(f"judging: {route.name}"):
            try:
                self.held[route.name] = self._answers(self._in_time(route))
                self.routes[route.name] = route
            except Diverged as problem:
                self.notes.append(f"Finetuning failed ({route.name}): {str(problem).rstrip('.')}.")
            except OutOfTimeError:
                self.notes.append(
                    f"Too little time to tell whether the side {route.name!r} would help: the budget ended while it was judged."
                )

    def compared(self, related: Evidence | None, rule: Rule, *, greedy: bool = False) -> Compared | None:
        """All sides that were judged beside the frozen one; None where none was. `greedy`: their greedy mean too."""
        if not self.held:
            return None
        route = Route(FROZEN, "as it came", lambda _: Made(self.frozen.side, None))
        self.routes[FROZEN] = route
        return Compared({FROZEN: self._answers(route), **self.held}, related, rule, greedy)

    def _answers(self, route: Route) -> HeldOut:
        frozen, job = self.frozen, self.job
        finished = job.at.finished if route.key else NOTHING
        return held_out(route, frozen.target, frozen.methods, self.splits, job.seed, finished)

    def _in_time(self, route: Route) -> Route:
        """The same route, which is not taken once the budget is spent."""

        def make(rows: Integers) -> Made:
            if self.job.clock.left == 0:
                raise OutOfTimeError
            return route.make(rows)

        return replace(route, make=make)
