"""Budgets: how many rows a step looks at, and the same phases with as many steps as a number of rows allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Learner, Phase, Step, heads_of, phases_of
from fewtune.learning.support import support_tasks
from fewtune.learning.weighing import own_tasks
from fewtune.parts.heads.linear import Linear
from fewtune.parts.keep import stretched
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import served
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import Tasks

_LOOKED = 64  # episodes that tell whether there are several tasks
_MANY, _FEWEST = (
    2048,
    16,
)  # how many episodes of different sizes, and steps (or tasks in sequence), are averaged instead of all


def step_visits(phase: Phase, tasks: Tasks) -> float:
    """Rows that a step of a phase looks at; inner steps count each of theirs. The mean over the steps until the optimizer begins anew,
    since the last batch of an epoch may be smaller; where episodes differ in size, over many of those."""
    steps = max(1, phase.restart)
    episodes = phase.sampler.draw(tasks, key(0), 0, phase.batch * steps)
    if _ragged(phase.sampler):
        steps *= max(_FEWEST, ceil(_MANY / len(episodes)))
        episodes = phase.sampler.draw(tasks, key(0), 0, phase.batch * steps)
    return visits_of(phase.learner, episodes) / steps


def total_visits(steps: tuple[Step, ...], tasks: Tasks) -> float:
    """Rows that all phases look at, those of every member of an average too."""
    return sum(
        step.steps * step_visits(step, tasks) if isinstance(step, Phase) else sum(total_visits(member, tasks) for member in step.members)
        for step in steps
    )


def budgeted(steps: tuple[Step, ...], tasks: Tasks, visits: int) -> tuple[Step, ...]:
    """The same phases with their steps scaled alike, so that together they look at `visits` rows at most (on average, where episodes
    differ in size).

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
    """(the same phases with samplers that draw from every class and task, sentences about what is smaller or left out; see `served`)."""
    said: dict[str, None] = {}

    def fit(phase: Phase) -> Phase:
        sampler, notes = served(phase.sampler, tasks)
        said.update(dict.fromkeys(notes))
        restart = phase.restart
        before, after = _sequence(phase.sampler), _sequence(sampler)
        if before and after and restart == before.steps_per_task:
            restart = after.steps_per_task
        _check_places(phase, sampler)
        found = replace(phase, sampler=sampler, restart=restart)
        said.update(dict.fromkeys(_without_effect(found, tasks)))
        return found

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


def _check_places(phase: Phase, given: Sampler) -> None:
    """Raises InputError where the tasks have fewer classes than a head has places, which then could answer none of their episodes."""
    asked, drawn = _drawing(phase.sampler), _drawing(given)
    if not (isinstance(asked, Sampled) and isinstance(drawn, Sampled)) or drawn.ways == asked.ways:
        return
    if asked.ways in {head.ways for head in heads_of(phase.learner) if isinstance(head, Linear)}:
        raise InputError(
            f"this method trains a head for {asked.ways} classes at a time, but no source task has more than {drawn.ways} with enough "
            f"examples: set ways={drawn.ways} (and test on {drawn.ways} classes), or add a source with {asked.ways} classes."
        )


def _without_effect(phase: Phase, tasks: Tasks) -> tuple[str, ...]:
    """A sentence where an aggregator has but one task to weigh in each step, or weighs episodes where there are tasks to weigh."""
    if phase.aggregator.constant:
        return ()
    name = type(phase.aggregator).__name__
    drawn = phase.sampler.draw(tasks, key(0), 0, max(_LOOKED, phase.batch)).task
    if phase.batch > 1 and len(set(drawn.tolist())) > 1:
        if len(tasks) == 1 or not own_tasks(phase.sampler):
            return ()
        return (
            f"{name} takes every episode as a task of its own: to put the {len(tasks)} sources or groups together instead, set "
            "task='collection' in the sampler",
        )
    return (
        f"{name} puts several tasks together, but each step has one, so it changes nothing: "
        "draw episodes (Sampled) or tasks in turn (PerTask), with a batch of 2 or more",
    )


def _ragged(sampler: Sampler) -> bool:
    """Whether its episodes may differ in size."""
    inner = _drawing(sampler)
    return isinstance(inner, Varied | Imbalanced) or (isinstance(inner, Sampled | InSequence) and inner.ragged)


def _sequence(sampler: Sampler) -> InSequence | None:
    """The sampler that takes a phase's tasks in sequence, if it has one."""
    inner = _drawing(sampler)
    return inner if isinstance(inner, InSequence) else None


def _drawing(sampler: Sampler) -> Sampler:
    """The sampler that draws, also where the tasks are chosen first."""
    return sampler.sampler if isinstance(sampler, Chosen) else sampler


def visits_of(learner: Learner, episodes: Episodes) -> float:
    """Rows that a learner looks at to answer some episodes; inner steps count each of theirs."""
    asked = int((episodes.query >= 0).sum())
    if heads_of(learner)[0].reads_support:
        asked += int((episodes.support >= 0).sum())
    if not isinstance(learner, Adapt):
        return asked
    _, at, counts = np.unique((episodes.support >= 0).sum(dim=1).numpy(), return_index=True, return_counts=True)
    each = zip(at.tolist(), counts.tolist(), strict=True)  # episodes with supports of one size look at as many rows
    return asked + sum((count * _inner_visits(learner, episodes[one : one + 1]) for one, count in each), 0.0)


def _inner_visits(learner: Adapt, episode: Episodes) -> float:
    """Rows that the inner steps of one episode look at; an implicit gradient looks at the support once more."""
    inner = support_tasks(episode)
    again = sum(step_visits(phase, inner) for phase in phases_of(learner.phases)) if isinstance(learner.through, Implicit) else 0
    return total_visits(learner.phases, inner) + again
