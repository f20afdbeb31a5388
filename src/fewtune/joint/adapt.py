"""The main job for several label columns: the best answer to each, and whether they should be learned together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError
from fewtune.joint.card import joint_card
from fewtune.joint.finetuned import FINETUNED, can_move, usual_finetuning
from fewtune.joint.folds import MANY, check_differ
from fewtune.joint.held_out import finetuned_held_out, folds_in_time, heads_held_out, networks_held_out
from fewtune.joint.judged import INDEPENDENT, TOGETHER, TaskJudged, judged_task, truth_of
from fewtune.joint.networks import Network, alone_like, fit_network, is_alone
from fewtune.joint.outcome import JointJudgement, JointOutcome
from fewtune.joint.rows import JointRows, joint_rows
from fewtune.joint.ways import HEADS, fit_head
from fewtune.joint.words import (
    copied_sentence,
    left_out_sentence,
    measured_sentence,
    scales_sentence,
    sharing_sentences,
    summary_sentence,
    task_sentence,
    way_in_words,
)
from fewtune.keys import Key, key
from fewtune.learning.laid_out import is_sharing
from fewtune.learning.method import Method
from fewtune.models.backbone_record import record_of
from fewtune.models.finetuned_weights import Change, since_origin
from fewtune.models.joint.evaluate import TaskMeasured, measured_task
from fewtune.models.joint.model import Fitted, JointBundle, JointSupport, TaskModel
from fewtune.models.joint.rows import row_digests
from fewtune.models.record import known
from fewtune.recipes.language import read_method
from fewtune.recipes.sharing import SHARING, independent, shared_bottom
from fewtune.sides.clock import Clock
from fewtune.sides.job import HERE, Workplace
from fewtune.words import counted

USUAL: Mapping[str, Method] = {INDEPENDENT: independent(), TOGETHER: shared_bottom()}


def methods_of(texts: Sequence[str]) -> dict[str, Method]:
    """The networks to try: a network for each column, and those that are spelled, by their text (by default `shared_bottom`). The former is
    trained as the first of the latter is, unless it is spelled too. One that trains the backbone stands beside the usual two.

    Raises InputError for a method that does not learn label columns.
    """
    found = {text: sharing_method(text) for text in texts}
    moving = {text: method for text, method in found.items() if method.moves_backbone}
    found = {text: method for text, method in found.items() if text not in moving}
    if not found:
        return dict(USUAL) | moving
    together = {text: method for text, method in found.items() if not is_alone(method)}
    alone = next((method for method in found.values() if is_alone(method)), None)
    return {INDEPENDENT: alone or alone_like(next(iter(together.values())))} | together | moving


def sharing_method(text: str) -> Method:
    """A method for label columns by its text. Raises InputError for another method."""
    method = read_method(text)
    if not is_sharing(method):
        raise InputError(f"{text!r} does not learn label columns: expected one of {', '.join(recipe.__name__ for recipe in SHARING)}.")
    return method


@final
@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """How label columns are learned. `methods`: networks by name beside the heads on the features; `finetune`: also try to finetune the
    backbone, if it has weights; `minutes`: for all folds of them (they are left out where it is not enough); `folds` (fewer for many rows);
    `seed` of everything that is drawn; `metrics`: by kind of column, instead of the usual one."""

    methods: Mapping[str, Method] = field(default_factory=lambda: dict(USUAL))
    finetune: bool = False
    minutes: float = 5.0
    folds: int = 5
    skip_bad: bool = False
    seed: int = 0
    metrics: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}.")
        if not self.minutes > 0:
            raise InputError(f"the budget of minutes must be above 0, found {self.minutes:g}.")

    @property
    def pair(self) -> tuple[str, str] | None:
        """The networks on the same features that learn each column alone and all together; None where they are not both there."""
        together = [name for name, method in self.methods.items() if name != INDEPENDENT and not method.moves_backbone]
        return (INDEPENDENT, together[0]) if INDEPENDENT in self.methods and together else None


def adapt_columns(
    table: LabelTable, backbone: Backbone | None, settings: JointSettings | None = None, at: Workplace = HERE
) -> JointOutcome:
    """The best model of all label columns of a table. `backbone`: what embeds its photos or texts; None where numbers are its only input.

    Every way answers held-out rows of each fold; for each task the one with the least held-out loss is fitted on all rows and saved.
    Raises InputError for rows and columns that cannot be learned from.
    """
    how = settings or JointSettings()
    found = judge_columns(table, backbone, how, at)
    rows, judged = found.rows, found.tasks
    with found.clock.stage("making the model"):
        networks = _networks(rows, found.methods, judged, _root(how), how.seed)
        bundle = _bundle(rows, judged, networks)
    measured = _measured(rows, bundle, judged, networks)
    sentences = (*found.sentences, *map(measured_sentence, measured))
    facts = _facts(rows, judged, measured, how.seed)
    return JointOutcome(
        rows=rows,
        bundle=replace(bundle, facts=facts, card=joint_card(bundle, facts, (*sentences, *found.details))),
        tasks=judged,
        measured=measured,
        sentences=sentences,
        details=found.details,
        networks=networks,
        stages=found.stages,
        folds=found.folds,
    )


def judge_columns(
    table: LabelTable, backbone: Backbone | None, settings: JointSettings | None = None, at: Workplace = HERE
) -> JointJudgement:
    """Every way on held-out rows of each fold; no model is made. Raises InputError as `adapt_columns` does."""
    how = settings or JointSettings()
    clock, root = Clock(how.minutes), _root(how)
    with clock.stage("embedding the rows"):
        rows = joint_rows(table, backbone, cache=at.cache, skip_bad=how.skip_bad, quiet=at.quiet)
    folds = 3 if len(rows.train) > MANY else min(how.folds, len(rows.train))
    check_differ(rows)
    with clock.stage("comparing learners on frozen features"):
        parts, fewer = folds_in_time(rows, folds, clock, root.child("folds"))
        outputs = heads_held_out(rows, parts)
    frozen, moving = _tried(rows, how)
    methods, notes = networks_held_out(rows, parts, frozen, clock, root, how.seed, outputs)
    notes = [*fewer, *notes]
    for name, method in moving.items():
        notes += finetuned_held_out(rows, parts, name, method, clock, root, how.seed, outputs)
    judged = tuple(
        judged_task(rows, place, outputs[place], len(parts), pair=how.pair, metrics=how.metrics) for place in range(len(rows.tasks))
    )
    return JointJudgement(
        rows=rows,
        parts=parts,
        tasks=judged,
        methods={**methods, **moving},
        sentences=(summary_sentence(judged), *map(task_sentence, judged), *sharing_sentences(judged)),
        details=(*notes, *left_out_sentence(rows), *copied_sentence(rows), *scales_sentence(rows), *table.examples.remarks),
        clock=clock,
    )


def _root(how: JointSettings) -> Key:
    return key(how.seed, "joint")


def _tried(rows: JointRows, how: JointSettings) -> tuple[dict[str, Method], dict[str, Method]]:
    """(networks on the features as they are, those that are trained with the backbone below). One column is learned alone anyway."""
    moving = {name: method for name, method in how.methods.items() if method.moves_backbone}
    frozen = {name: method for name, method in how.methods.items() if name not in moving}
    if len(rows.tasks) < 2 and frozen == dict(USUAL):
        frozen = {}
    if how.finetune and not moving and can_move(rows):
        moving = {FINETUNED: usual_finetuning()}
    return frozen, moving


def _networks(rows: JointRows, methods: Mapping[str, Method], judged: tuple[TaskJudged, ...], root: Key, seed: int) -> dict[str, Network]:
    """The networks that answer some task, trained on all rows."""
    needed = [name for name in methods if any(task.chosen == name for task in judged)]
    return {
        name: fit_network(rows, methods[name], rows.train, root.child("whole"), seed=seed, place=place) for place, name in enumerate(needed)
    }


def _bundle(rows: JointRows, judged: tuple[TaskJudged, ...], networks: Mapping[str, Network]) -> JointBundle:
    examples = rows.table.examples
    digests, (origin, changes) = row_digests(examples, rows.table.numbers), _changes(rows, networks)
    width = rows.features.shape[1] - len(rows.table.names) - len(rows.scaling.flagged)
    return JointBundle(
        backbone=None if origin is None else record_of(origin, width),
        changes=tuple(changes.values()),
        support=_support(rows, judged, networks),
        numbers=rows.table.names,
        scaling=rows.scaling,
        tasks=tuple(_task_model(rows, place, task, networks, tuple(changes)) for place, task in enumerate(judged)),
        learned=frozenset(digests[row] for row in rows.train),
        input=rows.table.input,
    )


def _support(rows: JointRows, judged: tuple[TaskJudged, ...], networks: Mapping[str, Network]) -> JointSupport | None:
    """The rows that heads of class columns are fitted on; None where networks answer all of them."""
    heads = {place: one.task for place, one in enumerate(judged) if one.task.column.kind == "class" and one.chosen not in networks}
    if not heads:
        return None
    known = {place: np.isin(rows.train, task.train) for place, task in heads.items()}
    labels = {place: np.where(known[place], task.column.values[rows.train], -1) for place, task in heads.items()}
    return JointSupport(rows.features[torch.from_numpy(rows.train)], labels)


def _changes(rows: JointRows, networks: Mapping[str, Network]) -> tuple[Backbone | None, dict[str, Change | None]]:
    """(the backbone that the model names, what is changed in it for the ways that need it). The first change, "", is that of the features
    as they are: none, unless the backbone is that of a saved model."""
    if rows.backbone is None:
        return None, {"": None}
    origin, since = since_origin(rows.backbone, None)
    moved = {name: network.below.moved() for name, network in networks.items() if network.below is not None}
    return origin, {"": since} | {name: since_origin(rows.backbone, one)[1] for name, one in moved.items()}


def _task_model(rows: JointRows, place: int, found: TaskJudged, networks: Mapping[str, Network], changes: Sequence[str]) -> TaskModel:
    task, best = found.task, found.best
    fitted: Fitted
    if found.chosen in networks:
        seen = changes.index(found.chosen) if found.chosen in changes else 0
        fitted = replace(networks[found.chosen].fitted[place], backbone=seen)
    else:
        fitted = fit_head(rows, task, HEADS[task.column.kind][found.chosen], rows.train)
    return TaskModel(
        name=task.name,
        kind=task.column.kind,
        names=task.column.names,
        scale=task.scale,
        way=way_in_words(found.chosen),
        fitted=fitted,
        temperature=best.temperature,
        half=best.half,
        metric=found.metric.name,
        expected=best.value,
        guessing=found.guessing,
        rows=len(task.train),
    )


def _measured(
    rows: JointRows, bundle: JointBundle, judged: tuple[TaskJudged, ...], networks: Mapping[str, Network]
) -> tuple[TaskMeasured, ...]:
    """Every task on the rows of the test split, which nothing has looked at before."""
    found = []
    for model, task, one in zip(bundle.tasks, rows.tasks, judged, strict=True):
        if len(task.test):
            network = networks.get(one.chosen)
            features = rows.features[task.test] if network is None else network.features(rows, task.test)
            found.append(measured_task(model, model.answers(features), truth_of(task, task.test)))
    return tuple(found)


def _facts(rows: JointRows, judged: tuple[TaskJudged, ...], measured: tuple[TaskMeasured, ...], seed: int) -> dict[str, Any]:
    """What the record says of how the model was made: numbers alone, None where there is none."""
    return {
        "data": rows.table.examples.name,
        "data_digest": rows.table.examples.digest(),
        "rows": len(rows.train),
        "seed": seed,
        "left_out": counted(len(rows.left_out), "row"),
        "tasks": {
            task.task.name: {
                "chosen": task.chosen,
                "ways": {name: {"value": known(way.value.mean), "loss": known(way.loss)} for name, way in task.ways.items()},
                "sharing": None
                if task.sharing is None
                else {
                    "gain": known(task.sharing.gain.mean),
                    "low": known(task.sharing.gain.low),
                    "high": known(task.sharing.gain.high),
                    "p": known(task.sharing.p),
                    "verdict": task.sharing.verdict,
                },
            }
            for task in judged
        },
        "measured": {one.name: {"metric": one.metric, "value": known(one.value.mean), "rows": one.rows} for one in measured},
    }
