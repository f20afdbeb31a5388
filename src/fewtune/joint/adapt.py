"""The main job for several label columns: the best answer to each, and whether they should be learned together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from fewtune.backbones.backbone import Backbone
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError
from fewtune.joint.card import joint_card
from fewtune.joint.folds import MANY, check_differ, fold_of_rows
from fewtune.joint.held_out import heads_held_out, networks_held_out, parts_of
from fewtune.joint.judged import INDEPENDENT, TOGETHER, TaskJudged, judged_task, truth_of
from fewtune.joint.networks import Network, alone_like, fit_network, is_alone, moves_backbone
from fewtune.joint.outcome import JointOutcome
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
from fewtune.models.joint.evaluate import TaskMeasured, measured_task
from fewtune.models.joint.model import Fitted, JointBundle, TaskModel
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
    trained as the first of the latter is, unless it is spelled too.

    Raises InputError for a method that does not learn label columns, and for one that trains the backbone too.
    """
    if not texts:
        return dict(USUAL)
    found = {text: sharing_method(text) for text in texts}
    together = {text: method for text, method in found.items() if not is_alone(method)}
    alone = next((method for method in found.values() if is_alone(method)), None)
    return {INDEPENDENT: alone or alone_like(next(iter(together.values())))} | together


def sharing_method(text: str, *, backbone: bool = False) -> Method:
    """A method for label columns by its text.

    Raises InputError for another method, and (unless `backbone`) for one that trains the backbone too.
    """
    method = read_method(text)
    if not is_sharing(method):
        raise InputError(f"{text!r} does not learn label columns: expected one of {', '.join(recipe.__name__ for recipe in SHARING)}.")
    if moves_backbone(method) and not backbone:
        raise InputError(
            f"{text!r} trains the backbone too, which `fewtune compare` can do; a saved model of label columns keeps it as it is."
        )
    return method


@final
@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """How label columns are learned. `methods`: networks by name beside the heads on the features; `minutes`: for all folds of them (they
    are left out where it is not enough); `folds` (fewer for many rows); `seed` of everything that is drawn; `metrics`: by kind of column,
    instead of the usual one."""

    methods: Mapping[str, Method] = field(default_factory=lambda: dict(USUAL))
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
        """The networks that learn each column alone and all together; None where they are not both there."""
        together = [name for name in self.methods if name != INDEPENDENT]
        return (INDEPENDENT, together[0]) if INDEPENDENT in self.methods and together else None


def adapt_columns(
    table: LabelTable, backbone: Backbone | None, settings: JointSettings | None = None, at: Workplace = HERE
) -> JointOutcome:
    """The best model of all label columns of a table. `backbone`: what embeds its photos or texts; None where numbers are its only input.

    Every way answers held-out rows of each fold; for each task the one with the least held-out loss is fitted on all rows and saved.
    Raises InputError for rows and columns that cannot be learned from.
    """
    how = settings or JointSettings()
    clock = Clock(how.minutes)
    with clock.stage("embedding the rows"):
        rows = joint_rows(table, backbone, cache=at.cache, skip_bad=how.skip_bad, quiet=at.quiet)
    root, folds = key(how.seed, "joint"), 3 if len(rows.train) > MANY else min(how.folds, len(rows.train))
    check_differ(rows)
    fold = fold_of_rows(rows, folds, root.child("folds"))
    with clock.stage("comparing learners on frozen features"):
        parts = parts_of(rows, fold, folds)
        outputs = heads_held_out(rows, parts)
    tried = {} if len(rows.tasks) < 2 and how.methods == dict(USUAL) else how.methods
    methods, notes = networks_held_out(rows, parts, tried, clock, root, how.seed, outputs)
    judged = tuple(judged_task(rows, place, outputs[place], folds, pair=how.pair, metrics=how.metrics) for place in range(len(rows.tasks)))
    with clock.stage("making the model"):
        networks = _networks(rows, methods, judged, root, how.seed)
        bundle = _bundle(rows, judged, networks)
    measured = _measured(rows, bundle)
    sentences = (summary_sentence(judged), *map(task_sentence, judged), *sharing_sentences(judged), *map(measured_sentence, measured))
    facts = _facts(rows, judged, measured, how.seed)
    details = (*notes, *left_out_sentence(rows), *copied_sentence(rows), *scales_sentence(rows), *table.examples.remarks)
    return JointOutcome(
        rows=rows,
        bundle=replace(bundle, facts=facts, card=joint_card(bundle, facts, (*sentences, *details))),
        tasks=judged,
        measured=measured,
        sentences=sentences,
        details=details,
        networks=networks,
        stages=clock.stages,
        folds=folds,
    )


def _networks(rows: JointRows, methods: Mapping[str, Method], judged: tuple[TaskJudged, ...], root: Key, seed: int) -> dict[str, Network]:
    """The networks that answer some task, trained on all rows."""
    needed = [name for name in methods if any(task.chosen == name for task in judged)]
    return {
        name: fit_network(rows, methods[name], rows.train, root.child("whole"), seed=seed, place=place) for place, name in enumerate(needed)
    }


def _bundle(rows: JointRows, judged: tuple[TaskJudged, ...], networks: Mapping[str, Network]) -> JointBundle:
    examples, backbone = rows.table.examples, rows.backbone
    digests = row_digests(examples, rows.table.numbers)
    width = rows.features.shape[1] - len(rows.table.names) - len(rows.scaling.flagged)
    return JointBundle(
        backbone=None if backbone is None else record_of(backbone, width),
        numbers=rows.table.names,
        scaling=rows.scaling,
        tasks=tuple(_task_model(rows, place, task, networks) for place, task in enumerate(judged)),
        learned=frozenset(digests[row] for row in rows.train),
        input=rows.table.input,
    )


def _task_model(rows: JointRows, place: int, found: TaskJudged, networks: Mapping[str, Network]) -> TaskModel:
    task, best = found.task, found.best
    fitted: Fitted
    if found.chosen in networks:
        fitted = networks[found.chosen].fitted[place]
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


def _measured(rows: JointRows, bundle: JointBundle) -> tuple[TaskMeasured, ...]:
    """Every task on the rows of the test split, which nothing has looked at before."""
    return tuple(
        measured_task(model, model.answers(rows.features[task.test]), truth_of(task, task.test))
        for model, task in zip(bundle.tasks, rows.tasks, strict=True)
        if len(task.test)
    )


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
