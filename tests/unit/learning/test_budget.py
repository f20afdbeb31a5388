"""Budgets in rows: what a step looks at, and as many steps as a number of rows allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.budget import budgeted, fit_phases, step_visits, total_visits
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.aggregators import PcGrad, WorstCase
from fewtune.parts.keep import Best
from fewtune.parts.plan import resolve
from fewtune.parts.rates import Steps
from fewtune.recipes import (
    anil,
    boil,
    gradual_unfreezing,
    imaml,
    linear_probe_then_finetune,
    mamf,
    maml,
    matching_networks,
    multitask,
    r2d2,
    reptile,
    shared_heads,
    wise_ft,
)
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows, group_tasks


@pytest.fixture(scope="module")
def tasks() -> Tasks:
    labels = np.repeat(np.arange(8), 12)
    space = RowSpace([make_examples(Vectors(np.zeros((96, 2), dtype=np.float32)), labels, class_names=[f"c{i}" for i in range(8)])])
    return class_rows(space)


def steps_of(phases: object) -> list[int]:
    return [phase.steps for phase in phases]  # type: ignore[attr-defined]


def test_a_step_looks_at_support_query_and_every_inner_step(tasks: Tasks) -> None:
    (plain,) = multitask(ways=4, shots=1, queries=3, batch=2).phases
    assert isinstance(plain, Phase) and step_visits(plain, tasks) == 2 * 4 * 4
    (without,) = shared_heads(ways=4, queries=3, batch=2).phases
    assert isinstance(without, Phase) and step_visits(without, tasks) == 2 * 4 * 3
    (inner,) = maml(ways=4, shots=2, queries=3, inner_steps=5, batch=2).phases
    assert isinstance(inner, Phase) and step_visits(inner, tasks) == 2 * (5 * 4 * 2 + 4 * 3)  # a linear head reads no support
    (solved,) = imaml(ways=4, shots=2, queries=3, inner_steps=5, batch=2).phases
    assert isinstance(solved, Phase) and step_visits(solved, tasks) == 2 * (6 * 4 * 2 + 4 * 3)


def test_smaller_last_batches_count_as_what_they_are(tasks: Tasks) -> None:
    (phase,) = mamf(ways=5, rows=10, epochs=2, batch=32).phases
    assert isinstance(phase, Phase) and phase.restart == 4 and step_visits(phase, tasks) == 25


def test_steps_are_scaled_alike_and_in_whole_tasks(tasks: Tasks) -> None:
    assert steps_of(budgeted(multitask(ways=4, queries=3).phases, tasks, 1600)) == [100]
    assert steps_of(budgeted(mamf(ways=5, rows=10, epochs=2, batch=32, steps=8).phases, tasks, 1099)) == [40]
    two = budgeted(linear_probe_then_finetune(probe_steps=30, steps=10, batch=20).phases, tasks, 1600)
    assert steps_of(two) == [60, 20] and total_visits(two, tasks) == 1600
    ((average,),) = (budgeted(wise_ft(batch=20, steps=10).phases, tasks, 400),)
    assert total_visits((average,), tasks) == 400
    with pytest.raises(InputError, match="a budget of 10 visits does not allow one step of every phase: expected 16 or more"):
        budgeted(multitask(ways=4, queries=3).phases, tasks, 10)


def test_ways_shrink_and_a_task_of_mamf_with_them(tasks: Tasks) -> None:
    phases, notes = fit_phases(mamf(ways=20, rows=10, epochs=2, batch=32).phases, tasks)
    (phase,) = phases
    assert isinstance(phase, Phase) and isinstance(phase.sampler, InSequence)
    assert phase.sampler.ways == 8 and phase.restart == phase.sampler.steps_per_task
    assert any("ways shrank from 20 to 8" in note for note in notes)


def course(phase: Phase, name: str = "w") -> list[float]:
    """The rate of a name at each step."""
    plan = resolve(phase.plan, (name,))
    return [plan.rates_at(step, phase.steps)[name] for step in range(phase.steps)]


def test_what_is_counted_in_steps_shrinks_with_the_steps(tasks: Tasks) -> None:
    """A budget of 16 rows a step: 25 of 200 steps. The drops of Steps come at half and at three quarters, whatever the budget."""
    (whole,) = multitask(ways=4, queries=3, lr=Steps(lr=1.0, at=(100, 150))).phases
    assert isinstance(whole, Phase)
    whole = replace(whole, keep=Best(every=40), restart=100)
    (phase,) = budgeted((whole,), tasks, 16 * 25)
    assert isinstance(phase, Phase) and phase.steps == 25
    assert course(phase) == pytest.approx([1.0] * 13 + [0.1] * 6 + [0.01] * 6)
    assert phase.keep == Best(every=5) and phase.restart == 12
    (again,) = budgeted((phase,), tasks, 16 * 50)  # once more, from there
    assert isinstance(again, Phase) and again.steps == 50 and course(again) == pytest.approx([1.0] * 25 + [0.1] * 13 + [0.01] * 12)
    assert budgeted((whole,), tasks, 16 * 200) == (whole,)  # a budget that changes no number of steps changes nothing


def test_a_budget_thaws_what_the_whole_run_thaws() -> None:
    """Six groups, the last ones first, one more after each tenth of the phase: every one moves, whatever the number of steps."""
    labels = np.repeat(np.arange(6), 20)
    vectors = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    space = RowSpace([make_examples(Vectors(vectors), labels, class_names=list("abcdef"))])
    ground = Ground(load_backbone("mlp,inputs=8,depth=6", machine=Machine(device="cpu", dtype="float32")), space)
    start, moved = ground.start(), []
    for visits in (60 * 64, 20 * 64, 11 * 64):
        phases = budgeted(gradual_unfreezing(lr=0.1, steps=60, every=6).phases, class_rows(space), visits)
        ended = train(ground, phases, class_rows(space), key(0)).weights
        moved.append({title for title, names in ground.backbone.groups if any(not torch.equal(ended[n], start[n]) for n in names)})
    assert moved == [{title for title, _ in ground.backbone.groups}] * 3


def test_the_length_of_a_task_in_sequence_is_not_stretched(tasks: Tasks) -> None:
    whole = mamf(ways=5, rows=10, epochs=2, batch=32, steps=80).phases
    (phase,) = budgeted(whole, tasks, 500)
    assert isinstance(phase, Phase) and phase.steps == 20 and phase.restart == 4


def uneven() -> tuple[RowSpace, Tasks]:
    """Two groups: "large" of six classes of 20 rows and two of 3, "small" of two classes of 9."""
    sizes = [20] * 6 + [3] * 2 + [9] * 2
    labels = np.repeat(np.arange(10), sizes)
    vectors = np.random.default_rng(0).normal(size=(len(labels), 8)).astype(np.float32)
    groups = ["large" if label < 8 else "small" for label in labels]
    space = RowSpace([make_examples(Vectors(vectors), labels, class_names=[f"c{i}" for i in range(10)], groups=groups)])
    return space, group_tasks(space)


def test_uneven_episodes_count_as_what_they_are_on_average() -> None:
    """4 ways, 1 + 9 rows: half of the episodes are 2 x 9 rows, half 4 classes of which a quarter are small: 4 (3/4 x 10 + 1/4 x 3)."""
    _, tasks = uneven()
    (phase,), notes = fit_phases(multitask(ways=4, shots=1, queries=9).phases, tasks)
    assert isinstance(phase, Phase) and isinstance(phase.sampler, Sampled) and phase.sampler.ragged and len(notes) == 2
    assert step_visits(phase, tasks) == pytest.approx((18 + 33) / 2, rel=0.02)
    (inner,), _ = fit_phases(maml(ways=4, shots=3, queries=9, inner_steps=5, batch=1).phases, tasks)
    # support: 3 of 20 and of 9 rows, 2 of 3; query: 9, 6 and 1
    expected = ((5 * 6 + 12) + (5 * 4 * (0.75 * 3 + 0.25 * 2) + 4 * (0.75 * 9 + 0.25 * 1))) / 2
    assert isinstance(inner, Phase) and step_visits(inner, tasks) == pytest.approx(expected, rel=0.02)


FEW = {"inner_steps": 2}


@pytest.mark.parametrize(
    ("method", "options"),
    [(maml, FEW), (anil, FEW), (boil, FEW), (imaml, FEW), (r2d2, {}), (matching_networks, {}), (shared_heads, {}), (mamf, {})],
)
def test_uneven_tasks_are_trained_on(method: Callable[..., Method], options: dict[str, int]) -> None:
    """A head of places is as wide as ever where a task has fewer classes; the mean of visits is what was foretold."""
    space, tasks = uneven()
    ground = Ground(load_backbone("mlp,inputs=8", machine=Machine(device="cpu", dtype="float32")), space)
    phases, _ = fit_phases(method(ways=4, batch=2, steps=32, **options).phases, tasks)
    ended = train(ground, phases, tasks, key(0))
    assert ended.visits == pytest.approx(total_visits(phases, tasks), rel=0.1) and ended.moved
    assert all(np.isfinite(row["loss"]) for row in ended.curve)


@pytest.mark.parametrize("recipe", [maml, anil, reptile, imaml], ids=lambda recipe: recipe.__name__)
def test_a_head_with_more_places_than_the_data_has_classes_is_refused(tasks: Tasks, recipe: Callable[..., Method]) -> None:
    most = int(np.diff(tasks.bounds).max())
    expected = rf"trains a head for {most + 1} classes at a time, but no source task has more than {most} with .*: set ways={most} "
    with pytest.raises(InputError, match=expected):
        fit_phases(recipe(ways=most + 1, shots=1).phases, tasks)
    phases, said = fit_phases(recipe(ways=most, shots=1).phases, tasks)
    assert phases == recipe(ways=most, shots=1).phases and not said
    assert fit_phases(multitask(ways=most + 1, shots=1).phases, tasks)[1]  # a head without places takes what there is


def test_an_aggregator_that_has_one_task_a_step_is_reported() -> None:
    _, tasks = uneven()
    (phase,) = multitask(ways=2, queries=2, batch=4).phases
    assert isinstance(phase, Phase)
    for aggregator in (PcGrad(), WorstCase()):
        several = replace(phase, aggregator=aggregator)
        (said,) = fit_phases((several,), tasks)[1]
        assert said.startswith(f"{type(aggregator).__name__} takes every episode as a task of its own: to put the {len(tasks)} sources")
        together = replace(several, sampler=Sampled(ways=2, queries=2, task="collection"))
        assert fit_phases((together,), tasks)[1] == ()
        assert fit_phases((several,), tasks.take([0]))[1] == ()
        for lone in (
            replace(several, batch=1),
            replace(several, sampler=Pooled(batch=8)),
            replace(several, sampler=Sampled(ways=2, queries=2, task="collection")),
        ):
            there = tasks.take([0]) if isinstance(lone.sampler, Sampled) else tasks
            (said,) = fit_phases((lone,), there)[1]
            assert said.startswith(f"{type(aggregator).__name__} puts several tasks together, but each step has one")
    assert fit_phases((replace(phase, batch=1),), tasks)[1] == ()
