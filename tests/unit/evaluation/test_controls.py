"""Random tasks and all tasks beside those that were chosen: only the tasks differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.controls import with_controls, worth_of_choice
from fewtune.evaluation.partial import NOTHING
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import Variants
from fewtune.learning.phase import phases_of
from fewtune.recipes import variants
from fewtune.statistics import paired_interval
from fewtune.tasks.chosen import AsMany, Chosen
from fewtune.tasks.selection import all_tasks, no_diversity
from tests.unit.evaluation.test_trainer import study_of

CHOOSING = "multitask(ways=3,queries=3,steps=3,selection={})"
RATES = (("lr", (1e-3, 1e-2)),)


def asked(*selections: str) -> dict[str, Variants]:
    return {s: variants(CHOOSING.format(s), RATES) for s in selections}


def selections(found: Variants) -> set[object]:
    return {p.sampler.selection for m in found.values() for p in phases_of(m.phases) if isinstance(p.sampler, Chosen)}


def test_a_choice_is_followed_by_its_two_controls_and_nothing_but_the_tasks_differs() -> None:
    made, beside = with_controls({**asked("no_diversity(most=4)"), "ridge": variants("ridge", ())})
    name = "no_diversity(most=4)"
    assert list(made) == [name, f"{name}, random tasks", f"{name}, all tasks", "ridge"]
    assert beside == {f"{name}, random tasks": name, f"{name}, all tasks": name}
    assert selections(made[f"{name}, random tasks"]) == {AsMany(selection=no_diversity(most=4))}
    assert selections(made[f"{name}, all tasks"]) == {all_tasks()}
    for control in beside:
        assert list(made[control]) == list(made[name]) == ["", "lr=0.001", "lr=0.01"]
        for label, method in made[control].items():
            mine = made[name][label]
            [phase], [other] = mine.phases, method.phases
            assert replace(method, phases=(replace(other, sampler=phase.sampler),)) == mine  # type: ignore[union-attr,type-var]


@pytest.mark.parametrize("selection", ["all()", "random(most=7)", "AsMany(selection=round_robin())", "Named(names=('s4/0',))"])
def test_what_is_no_choice_by_the_target_has_no_control(selection: str) -> None:
    made, beside = with_controls(asked(selection))
    assert list(made) == [selection] and not beside


def test_a_control_that_is_there_already_is_not_added_again() -> None:
    made, beside = with_controls(asked("no_diversity(most=4)", "round_robin(most=5)", "all()"))
    assert list(made) == [
        "no_diversity(most=4)",
        "no_diversity(most=4), random tasks",
        "round_robin(most=5)",
        "round_robin(most=5), random tasks",
        "all()",
    ]
    assert list(beside.values()) == ["no_diversity(most=4)", "round_robin(most=5)"]


@pytest.fixture(scope="module")
def outcomes() -> tuple[Outcomes, Mapping[str, str]]:
    base = study_of(["no_diversity(most=4)"])
    methods, beside = with_controls(asked("no_diversity(most=4)"))
    return run_study(replace(base, methods=methods, beside=beside), NOTHING), beside


def test_controls_take_the_swept_value_of_the_choice_and_have_its_budget(outcomes: tuple[Outcomes, Mapping[str, str]]) -> None:
    found, beside = outcomes
    swept = [note for note in found.notes if "was chosen on validation episodes" in note]
    assert len(swept) == 1 and swept[0].startswith("no_diversity(most=4): lr=")
    assert len({cost.chosen for cost in found.costs}) == 1 and found.costs[0].chosen in ("lr=0.001", "lr=0.01")
    assert len({(cost.visits, cost.steps) for cost in found.costs}) == 1 and len(found.costs) == 3
    said = [note for note in found.notes if "candidate tasks were chosen" in note]
    assert [note.split(": ")[1].split(" of ")[0] for note in said] == ["4", "4", "30"]
    values = [found.result.where(method=name).column("value") for name in found.result.distinct("method")]
    assert len(values) == 1 + len(beside) and not any(np.array_equal(values[0], other) for other in values[1:])


def test_what_the_choice_is_worth_is_said(outcomes: tuple[Outcomes, Mapping[str, str]]) -> None:
    found, beside = outcomes
    said = worth_of_choice(found.result, beside)
    chosen, *others = (found.result.where(method=name).column("value") for name in found.result.distinct("method"))
    for sentence, control, values in zip(said, beside, others, strict=True):
        gain = paired_interval(chosen - values)
        assert (
            sentence == f"3-way 1-shot: no_diversity(most=4) minus {control}: {100 * gain.mean:+.1f} +- {100 * gain.half_width:.1f} points."
        )
