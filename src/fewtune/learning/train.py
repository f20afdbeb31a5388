"""Source phases, one after another and averaged: the engine on shared weights; interrupted and resumed bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.learning import declared
from fewtune.learning.checkpoints import Checkpoints, Saved
from fewtune.learning.engine import averaged
from fewtune.learning.ground import Ground
from fewtune.learning.loop import Course, Loop, Validate, Weights
from fewtune.learning.marks import NO_MARKS, Marks
from fewtune.learning.phase import Average, Phase, Step, phases_of
from fewtune.learning.run_log import RunLog
from fewtune.learning.soup import greedy
from fewtune.learning.world import ALONE, World
from fewtune.parts import keep
from fewtune.parts.plan import resolve
from fewtune.progress import Progress
from fewtune.tasks.task import Tasks


@final
@dataclass(frozen=True, eq=False)
class Trained:
    """What source phases end with.

    `weights`: the backbone's and every declared name. `moved`: the names that differ from the start. `curve`: one row for each step: its
    phase, step, loss, the visits so far, `validation` if it was measured there, and `task_weights` (by the number of the task)
    where the aggregator weighs tasks. `visits`: rows that training looked at. `steps`:
    updates. `seconds`: time spent in training.
    """

    weights: dict[str, Tensor]
    moved: tuple[str, ...]
    curve: list[dict[str, Any]]
    visits: int
    steps: int
    seconds: float


class Running(TypedDict, total=False):
    """How a run of `train` is kept, shared and shown; none of it but `before` changes the result."""

    checkpoints: Checkpoints | None
    """Where the run is saved on the way; by default nowhere."""
    world: World
    """The processes that share the work; by default this one alone."""
    watch: int
    """Validation accuracy is put on the curve every so many steps; 0, the default, for never."""
    marks: Marks
    """Steps after which the run is looked at, for instance to keep its weights; by default none."""
    before: Callable[[Phase, Weights], Phase]
    """What a phase becomes when it begins, by the weights at hand: by default what it is. A function of the two alone, so that it can be
    resumed."""
    label: str
    """What the progress bar says, "training" by default."""
    quiet: bool
    """Whether no progress is shown, which is the default."""


def train(
    ground: Ground,
    phases: tuple[Step, ...],
    tasks: Tasks,
    key: Key,
    *,
    validate: Validate | None = None,
    **running: Unpack[Running],
) -> Trained:
    """The weights after source phases on `tasks`. Keyed, so it can be repeated, and resumed from checkpoints bit for bit on one device.

    `validate`: the accuracy of some weights on validation episodes, in [0, 1]; `Best`, `Greedy` and `watch` need it.
    Raises Diverged if a loss is not finite, Stopped when the user stops the run, and InputError if a phase cannot be run.
    """
    start = declared.begin(ground, phases)
    total = sum(phase.steps for phase in phases_of(phases))
    world, label = running.get("world", ALONE), running.get("label", "training")
    with Progress(total, label, quiet=running.get("quiet", True) or not world.leads) as progress:
        checkpoints = running.get("checkpoints") or Checkpoints()
        watch, marks, before = running.get("watch", 0), running.get("marks", NO_MARKS), running.get("before", _as_it_is)
        course = Course(ground, tasks, key, validate, checkpoints, world, watch, marks, progress, RunLog())
        run = _Run(course, before)
        weights: dict[str, Tensor] = start
        for number, step in enumerate(phases):
            weights = run.step(step, weights, (number,))
    moved = tuple(n for n, t in weights.items() if t is not start[n] and not torch.equal(t, start[n]))
    return Trained(weights, moved, course.log.curve, course.log.visits, course.log.steps, course.log.seconds)


def _as_it_is(phase: Phase, weights: Weights) -> Phase:  # noqa: ARG001
    return phase


@final
@dataclass(frozen=True, eq=False)
class _Run:
    """One training run: what all its phases use, and what a phase becomes when it begins."""

    course: Course
    before: Callable[[Phase, Weights], Phase]

    def step(self, step: Step, weights: dict[str, Tensor], place: tuple[int, ...]) -> dict[str, Tensor]:
        """A step of the method by its place in it."""
        if isinstance(step, Phase):
            return self._phase(step, weights, place)

        def member(start: Weights, number: int) -> dict[str, Tensor]:
            end = dict(start)
            for inner, one in enumerate(step.members[number]):
                end = self.step(one, end, (*place, number, inner))
            return end

        if isinstance(step, Average):
            return averaged(step, weights, member, self.course.ground, self.course.tasks, self.course.key.child("source", *place))
        if self.course.validate is None:
            raise InputError("a greedy soup needs validation episodes: give a source with validation classes.")
        ends = [member(weights, number) for number in range(len(step.members))]
        return greedy(ends, self.course.validate, self.course.ground.edits, weights)

    def _phase(self, phase: Phase, weights: dict[str, Tensor], place: tuple[int, ...]) -> dict[str, Tensor]:
        name = ".".join(map(str, place))
        plan = resolve(phase.plan, self.course.ground.movable(weights), self.course.ground.backbone.groups)
        if plan.learned:
            raise InputError("a learned rate (Meta-SGD) belongs in the plan of a phase inside Adapt, found one in a source phase.")
        if isinstance(phase.keep, keep.Best) and self.course.validate is None:
            raise InputError("Best keeps the best weights on validation episodes: give a source with validation classes, or keep=Last().")
        if (ended := self.course.checkpoints.end(name)) is not None:
            self.course.log.restore(ended.facts)
            self.course.progress.skip(phase.steps)
            return {n: torch.empty_like(t).copy_(ended.tensors[n]) if n in ended.tensors else t for n, t in weights.items()}
        loop = Loop(self.course, self.before(phase, weights), name, plan, weights, self.course.key.child("source", *place))
        ends = loop.run()
        self.course.checkpoints.save_end(name, Saved(ends, self.course.log.facts()))
        return {n: ends.get(n, t) for n, t in weights.items()}
