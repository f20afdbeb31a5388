"""What the printed time is made of: the size of a job, and how fast this machine is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from fewtune.adaptation.finetuning import OWN_SHARE
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.cli.time_ahead import Speeds, Work, runs_on_sources
from fewtune.data.examples import TEST, Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.keys import key
from fewtune.learners.choice import held_out_answers
from fewtune.learners.folds import stratified_splits
from fewtune.learners.labelled import Labelled
from fewtune.learners.target import Target
from fewtune.learning import declared
from fewtune.learning.budget import each_phase, fit_phases
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.learning.train import train
from fewtune.parts.heads import Blend
from fewtune.parts.plan import resolve
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import read_method
from fewtune.sides.guard import own_splits_allow
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.planning import FEW_ROWS, hopeless, seconds_a_run
from fewtune.sources.tuner import upper_groups
from fewtune.tasks.task import source_tasks

_STEP = 32  # rows of a step of a run on other data
_PROBE = FEW_ROWS  # rows embedded, and rows trained on, to measure the speed
_TIMES = 4  # that the fixed work is done, of which the fastest counts: the first warms up
_LONG = 60.0  # seconds of a run: in about a tenth of it a whole batch is measured
_REFERENCE = 0.020  # seconds of the fixed work of `_slower` on the reference machine


def work_of(examples: Examples, backbone: Backbone, sources: Sequence[Examples], how: AdaptSettings, methods: int | None) -> Work:
    """The size of the main job. `methods`: how many learners were named, None for all that suit."""
    labels = examples.labels[_trained(examples)]
    if methods is None:
        modality, prompts = backbone.preparation.modality, how.prompts
        methods = len(
            candidates(
                label_side=backbone.label_side,
                modality=modality,
                rows=len(labels),
                classes=len(np.unique(labels)),
                prompts=prompts,
                answers_prompts=backbone.answers_prompts,
            )
        )
    used = list(sources) if how.finetune in ("auto", "sources", "all") and backbone.groups else []
    judged = own_splits_allow(labels, len(examples.class_names))
    return Work(
        rows=len(examples),
        labelled=len(labels),
        classes=len(np.unique(labels)),
        features=backbone.width,
        learners=methods,
        folds=how.folds,
        methods=max(1, len(_recipes(examples, backbone, how))),
        share=OWN_SHARE if used else 1.0,
        others=sum(int(source.counts().clip(max=how.sources.most).sum()) for source in used),
        source_runs=runs_on_sources(len(how.sources.rates), len(how.sources.tries), judged=judged) if used else 0.0,
        visits=how.sources.visits,
        minutes=how.minutes,
    )


def measured(examples: Examples, backbone: Backbone, how: AdaptSettings, *, others: bool = False) -> Speeds | None:
    """The speeds of this machine, in a few seconds; None where the rows that are tried cannot be read. `others`: whether runs on other data
    are planned."""
    row = row_speed(examples, backbone)
    try:
        run, tried = _run(examples, backbone, how)
        visit = _visit(examples, backbone, how) if others else 0.0
        return None if row is None else Speeds(row=row, slower=_slower(), run=run, tried=tried, visit=visit)
    except (InputError, Diverged):
        return None


def row_speed(examples: Examples, backbone: Backbone) -> float | None:
    """Seconds of embedding one row, reading it included; None where rows cannot be read. 0 for features."""
    if examples.modality == "vector" or not len(examples):
        return 0.0
    rows = np.linspace(0, len(examples) - 1, 2 * _PROBE).astype(np.int64)
    start, space = backbone.start(), RowSpace([examples])
    try:
        with torch.no_grad():
            backbone.embed(start, space, rows[:_PROBE])  # the first pass warms up
            began = time.perf_counter()
            backbone.embed(start, space, rows[_PROBE:])
    except InputError:
        return None
    return (time.perf_counter() - began) / _PROBE


def _slower() -> float:
    """How many times longer than on the reference machine a fixed problem takes here: 48 rows of 384 numbers in 6 classes, 5 folds."""
    labels = np.arange(48) % 6
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(48, 384)).astype(np.float32))
    labelled, method = Labelled(features, np.arange(48), labels, 6), Method(learner=Blend())
    splits = stratified_splits(labelled.rows, labels, 6, key(0, "speed"), folds=5, repeats=1)
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        held_out_answers(method, labelled, splits, None)
        taken.append(time.perf_counter() - began)
    return min(taken) / _REFERENCE


def _trained(examples: Examples) -> Integers:
    """The rows that are learned from."""
    return np.flatnonzero((examples.labels >= 0) & (examples.row_split != TEST))


def _recipes(examples: Examples, backbone: Backbone, how: AdaptSettings) -> tuple[str, ...]:
    """The methods that will finetune on own labels."""
    labels = examples.labels[_trained(examples)]
    possible = how.finetune in ("auto", "own", "all") and backbone.groups and own_splits_allow(labels, len(examples.class_names))
    return (
        how.own.chosen(
            backbone.preparation.modality, how.finetune, label_side=backbone.label_side, answers_prompts=backbone.answers_prompts
        )
        if possible
        else ()
    )


def _run(examples: Examples, backbone: Backbone, how: AdaptSettings) -> tuple[float, float]:
    """Seconds of a run of finetuning on own labels, steps x the time of a step, and of measuring it on a batch; 0 where none is planned.

    A step of few rows is measured. Where that says that a run is short, a step of a whole batch is measured too: it costs less than as many
    times the few.
    """
    recipes, rows = _recipes(examples, backbone, how), _trained(examples)
    if not recipes:
        return 0.0, 0.0
    tuner = OwnTuner(_target(examples, backbone, rows), RowSpace([examples]), backbone, own_method(recipes[0]), how.seed)

    def seconds(count: int) -> tuple[float, float]:
        some = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
        began = time.monotonic()
        run = seconds_a_run(tuner.of_rows(some))
        return run, time.monotonic() - began

    few, batch = min(_PROBE, len(rows)), min(len(rows), tuner.batch)
    run, tried = seconds(few)
    if hopeless(run, tried, 60 * how.minutes):  # `adapt` then measures no more than this
        return batch / few * run, tried
    run, tried = (batch / few * one for one in (run, tried))
    return (run, tried) if run > _LONG else seconds(batch)


def _visit(examples: Examples, backbone: Backbone, how: AdaptSettings) -> float:
    """Seconds of a row in a run on other data: a few steps of its method on some labelled rows, after what the steps share was computed."""
    rows = _trained(examples)
    space = RowSpace([examples.take(rows[np.linspace(0, len(rows) - 1, min(_STEP, len(rows))).astype(np.int64)])])
    tasks = source_tasks(space, "all")
    method = read_method(how.sources.recipe or f"multitask(shots=1, queries=4, last={upper_groups(backbone)})")
    phases, _ = fit_phases(method.phases, tasks)
    bare = Ground(backbone, space, method.edits)
    weights = declared.begin(bare, phases)
    moving = {name for phase in phases_of(phases) for name in resolve(phase.plan, bare.movable(weights), backbone.groups).moving}
    ground = bare.holding(weights, moving)
    one, few = (each_phase(phases, partial(replace, steps=steps)) for steps in (1, _TIMES))
    train(ground, one, tasks, key(how.seed, "speed"))
    done = train(ground, few, tasks, key(how.seed, "speed"))
    return done.seconds / max(done.visits, 1)


def _target(examples: Examples, backbone: Backbone, rows: Integers) -> Target:
    """Some labelled rows, whose features nobody looks at."""
    nothing = np.zeros(0, dtype=np.int64)
    return Target(
        examples=examples,
        features=torch.zeros(len(examples), backbone.width),
        labels=examples.labels,
        class_names=examples.class_names,
        support=rows,
        test=nothing,
        tested=nothing,
        left_out=(),
        unmeasured=(),
        about_test=(),
        digest="",
    )
