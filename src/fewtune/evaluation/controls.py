"""Controls: what a method that chooses its tasks is worth beside the same method on as many random tasks, and on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fewtune.evaluation.result import Result
from fewtune.evaluation.rivals import against, answered_by
from fewtune.evaluation.study import Variants
from fewtune.evaluation.task_choice import chooses
from fewtune.learning.budget import each_phase
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase, phases_of
from fewtune.tasks.chosen import Again, AsMany, Chosen, Selection
from fewtune.tasks.selection import ConsistencyDiversity, all_tasks
from fewtune.words import option

RANDOM, ALL = "random tasks", "all tasks"
SAID = (
    "Beside each method that chooses its tasks stand the same method on as many random tasks and on all of them, with the same budget "
    f"and the same value of a sweep ({option('--no-controls', 'CompareSettings(controls=False)')} leaves them out)."
)


def with_controls(methods: Mapping[str, Variants]) -> tuple[dict[str, Variants], dict[str, str]]:
    """(the methods, each that chooses its tasks followed by its two controls; the name of such a method by that of its control).

    A control differs in nothing but its tasks. Methods whose tasks are random or all of them are controls themselves, and get none. A
    control that is among the methods already is not added again.
    """
    made: dict[str, Variants] = {}
    beside: dict[str, str] = {}
    for name, variants in methods.items():
        made[name] = variants
        if not any(_decides(method) for method in variants.values()):
            continue
        for title in (RANDOM, ALL):
            control = {label: _on(method, title) for label, method in variants.items()}
            if control not in (*methods.values(), *made.values()):
                made[f"{name}, {title}"] = control
                beside[f"{name}, {title}"] = name
    return made, beside


def worth_of_choice(result: Result, beside: Mapping[str, str]) -> tuple[str, ...]:
    """What each choice of tasks gains over its controls in each setting, a sentence each. `beside` as `with_controls` gives it."""
    said = []
    for setting in result.distinct("setting"):
        rows = {name: result.where(setting=setting, method=name) for pair in beside.items() for name in pair}
        for control, name in beside.items():
            pair = against(answered_by(rows[name]), answered_by(rows[control]))
            assert pair.difference is not None
            p = "" if pair.p != pair.p else f", p = {pair.p:.3f}"
            where = f"{rows[name].distinct('ways')[0]}-way {rows[name].distinct('shots')[0]}-shot"
            several = [rows[name].distinct(axis)[0] for axis in ("target", "backbone") if len(result.distinct(axis)) > 1]
            where = ", ".join([*several, where])
            said.append(
                f"{where}: {name} minus {control}: {100 * pair.difference.mean:+.1f} +- {100 * pair.difference.half_width:.1f} points{p}."
            )
    return tuple(said)


def _decides(method: Method) -> bool:
    """Whether a method chooses its tasks by what it knows of the target."""
    return chooses(method) and any(_is_choice(p.sampler.selection) for p in phases_of(method.phases) if isinstance(p.sampler, Chosen))


def _is_choice(selection: Selection) -> bool:
    if isinstance(selection, Again):
        return _is_choice(selection.selection)
    taken_as_they_come = isinstance(selection, ConsistencyDiversity) and not selection.diversity and selection.order != "similarity"
    return not taken_as_they_come and not isinstance(selection, AsMany)


def _on(method: Method, title: str) -> Method:
    """The same method on other tasks."""

    def other(phase: Phase) -> Phase:
        if not isinstance(phase.sampler, Chosen):
            return phase
        selection = all_tasks() if title == ALL else AsMany(selection=phase.sampler.selection)
        return replace(phase, sampler=replace(phase.sampler, selection=selection))

    return replace(method, phases=each_phase(method.phases, other))
