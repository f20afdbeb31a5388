"""Budgets: how many rows a step looks at, and the same phases with as many steps as a number of rows allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Learner, Phase, Step, heads_of, phases_of
from fewtune.learning.support import support_tasks
from fewtune.parts.keep import stretched
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import fitted
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.task import Tasks


def step_visits(phase: Phase, tasks: Tasks) -> float:
    """Rows that a step of a phase looks at; inner steps count each of theirs. The mean over the steps until the optimizer begins anew, for
    the last batch of an epoch may be smaller."""
    steps = max(1, phase.restart)
    episodes = phase.sampler.draw(tasks, key(0), 0, phase.batch * steps)
    return _visits(phase.learner, episodes) / steps


def total_visits(steps: tuple[Step, ...], tasks: Tasks) -> float:
    """Rows that all phases look at, those of every member of an average too."""
    return sum(
        step.steps * step_visits(step, tasks) if isinstance(step, Phase) else sum(total_visits(member, tasks) for member in step.members)
        for step in steps
    )


def budgeted(steps: tuple[Step, ...], tasks: Tasks, visits: int) -> tuple[Step, ...]:
    """The same phases with their steps scaled alike, so that together they look at `visits` rows at most.

    What a phase counts in steps is scaled with it: warm-ups, drops and thaws of its plan, what it keeps, and `restart`. But in a phase
    that takes its tasks in sequence (MAMF), where `restart` is the length of a task, whole tasks are counted. Raises InputError where
    the budget does not allow one step of each phase.
    """
    planned = total_visits(steps, tasks)
    if not planned:
        return steps

    def scale(phase: Phase) -> Phase:
        unit = phase.restart if phase.restart and _sequence(phase.sampler) else 1
        count = int(phase.steps * visits / planned / unit + 1e-9) * unit
        if phase.steps and not count:
            least = ceil(planned * unit / phase.steps)
            raise InputError(f"a budget of {visits:,} visits does not allow one step of every phase: expected {least:,} or more.")
        return of_length(phase, count)

    return each_phase(steps, scale)


def of_length(phase: Phase, steps: int) -> Phase:
    """The same phase with so many steps: what it counts in steps comes at the same fractions of it."""
    before = phase.steps
    if steps == before or not (steps and before):
        return replace(phase, steps=steps)
    restart = phase.restart
    if restart and not _sequence(phase.sampler):
        restart = max(1, round(restart * steps / before))
    plan = replace(phase.plan, steps=phase.plan.steps or before)
    return replace(phase, steps=steps, restart=restart, plan=plan, keep=stretched(phase.keep, before, steps))


def fit_phases(steps: tuple[Step, ...], tasks: Tasks) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """(the same phases with samplers that the tasks can serve, what shrank in words)."""
    said: dict[str, None] = {}

    def fit(phase: Phase) -> Phase:
        sampler, notes = fitted(phase.sampler, tasks)
        said.update(dict.fromkeys(notes))
        restart = phase.restart
        before, after = _sequence(phase.sampler), _sequence(sampler)
        if before and after and restart == before.steps_per_task:
            restart = after.steps_per_task
        return replace(phase, sampler=sampler, restart=restart)

    return each_phase(steps, fit), tuple(said)


def each_phase(steps: tuple[Step, ...], change: Callable[[Phase], Phase]) -> tuple[Step, ...]:
    """The same steps with every phase changed, those inside averages too."""
    made: list[Step] = []
    for step in steps:
        if isinstance(step, Phase):
            made.append(change(step))
        elif isinstance(step, Average | Greedy):
            made.append(replace(step, members=tuple(each_phase(member, change) for member in step.members)))
    return tuple(made)


def _sequence(sampler: Sampler) -> InSequence | None:
    """What takes a phase's tasks in sequence, where something does."""
    inner = sampler.sampler if isinstance(sampler, Chosen) else sampler
    return inner if isinstance(inner, InSequence) else None


def _visits(learner: Learner, episodes: Episodes) -> float:
    asked = int((episodes.query >= 0).sum())
    if heads_of(learner)[0].reads_support:
        asked += int((episodes.support >= 0).sum())
    if not isinstance(learner, Adapt):
        return asked
    inner = support_tasks(episodes[:1])
    again = sum(step_visits(phase, inner) for phase in phases_of(learner.phases)) if isinstance(learner.through, Implicit) else 0
    return asked + len(episodes) * (total_visits(learner.phases, inner) + again)  # an implicit gradient looks at the support once more
