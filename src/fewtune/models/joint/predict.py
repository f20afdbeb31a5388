"""Answers of a model of several label columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import Tensor

from fewtune.data.reading.inputs import Given
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.its_backbone import load_recorded_backbone
from fewtune.models.joint.model import Floats, JointBundle, TaskModel
from fewtune.models.joint.rows import Backbones, joint_features, numbers_of
from fewtune.models.predict import Running

_PREDICTED = "_predicted"


@final
@dataclass(frozen=True)
class Answer:
    """What a model says of one row for one label column.

    `value`: the class, the number, or the labels (a tuple); None for a row that cannot be read. `probability`: of the class; None of
    numbers and of several labels. `low`, `high`: between them lie 90% of such numbers. `scores`: probabilities by class or label.
    """

    value: str | float | tuple[str, ...] | None
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    scores: dict[str, float] | None = None


@final
@dataclass(frozen=True, eq=False)
class JointAnswers:
    """The answers to some rows: `answers[task][row]`, by the name of the label column. `problems`: why a row cannot be read."""

    rows: Sequence[str]
    answers: dict[str, list[Answer]]
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.rows)


def load_joint_backbones(bundle: JointBundle, running: Running) -> Backbones:
    """The backbone that the model was made with, once for each change that some task reads, by its place; none where it needs none.

    `running.backbone`: the original, where it is loaded already. Raises InputError where its weights are gone or others.
    """
    if bundle.backbone is None:
        return {}
    backbone = running.backbone or load_recorded_backbone(
        bundle.backbone, packed=bundle.packed, weights=running.weights, machine=running.machine or Machine()
    )
    changes = {place: bundle.changes[place] for place in bundle.places}
    return {place: backbone if change is None else change.onto(backbone) for place, change in changes.items()}


def predict_joint(
    bundle: JointBundle, given: Given, *, skip_bad: bool = False, running: Running | None = None, backbones: Backbones | None = None
) -> JointAnswers:
    """The answers to all rows. Rows that cannot be read are refused by name, or with `skip_bad` have no answer. `backbones`: where they are
    loaded already."""
    here = running or Running()
    if not len(given.examples):
        raise InputError("expected at least one row to label, found none.")
    loaded = load_joint_backbones(bundle, here) if backbones is None else backbones
    numbers = numbers_of(bundle, given)
    features, bad = joint_features(bundle, loaded, given.examples, numbers, skip_bad=skip_bad, quiet=here.quiet)
    return JointAnswers(
        given.examples.row_names, {task.name: answers_to(task, features[task.fitted.backbone]) for task in bundle.tasks}, bad
    )


def answers_to(task: TaskModel, features: Tensor) -> list[Answer]:
    """One answer a row."""
    return [_answer(task, row) for row in np.atleast_2d(task.answers(features).T).T]


def _answer(task: TaskModel, said: Floats) -> Answer:
    if np.isnan(said).any():
        return Answer(None)
    if task.kind == "float":
        value = float(said[0])
        return Answer(
            value, low=None if np.isnan(task.half) else value - task.half, high=None if np.isnan(task.half) else value + task.half
        )
    scores: dict[str, float] = dict(zip(task.names, said.tolist(), strict=True))
    if task.kind == "multi":
        return Answer(tuple(name for name, p in scores.items() if p >= 0.5), scores=scores)
    best = max(scores, key=scores.__getitem__)
    return Answer(best, probability=scores[best], scores=scores)


def answer_record(answer: Answer) -> dict[str, Any]:
    """An answer as JSON holds it: `value`, and what it has of probability, low, high and scores."""
    value = list(answer.value) if isinstance(answer.value, tuple) else answer.value
    more = {"probability": answer.probability, "low": answer.low, "high": answer.high, "scores": answer.scores}
    return {"value": value, **{name: given for name, given in more.items() if given is not None}}


def answer_columns(found: JointAnswers, taken: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The answers as columns of a table: one named after each label column, and beside it the probability of a class, the bounds of a
    number, or the probability of each label. Where `taken` has one of these names, `NAME_predicted` stands for NAME, or with a number after
    it where that is taken too."""
    columns: dict[str, list[Any]] = {}
    for name, answers in found.answers.items():
        beside = _beside(answers)
        called = _free(name, tuple(beside), {*taken, *columns})
        columns[called] = ["|".join(a.value) if isinstance(a.value, tuple) else a.value for a in answers]
        columns |= {f"{called} {what}": values for what, values in beside.items()}
    if found.problems:
        columns[_free("problem", (), {*taken, *columns})] = [found.problems.get(row) for row in range(len(found))]
    return columns


def _beside(answers: Sequence[Answer]) -> dict[str, list[Any]]:
    """What stands beside the answers to one column, by the word after its name."""
    first = next((a for a in answers if a.value is not None), Answer(None))
    if isinstance(first.value, tuple):
        return {label: [(a.scores or {}).get(label) for a in answers] for label in first.scores or {}}
    if isinstance(first.value, str):
        return {"probability": [a.probability for a in answers]}
    return {} if first.low is None else {"low": [a.low for a in answers], "high": [a.high for a in answers]}


def _free(name: str, beside: Sequence[str], taken: Collection[str]) -> str:
    """A name that no column has yet, nor with a word of `beside` after it."""
    stem = f"{name.removesuffix(_PREDICTED)}{_PREDICTED}"
    tries = itertools.chain((name, stem), (f"{stem} {number}" for number in itertools.count(2)))
    return next(one for one in tries if not {one, *(f"{one} {word}" for word in beside)} & {*taken})
