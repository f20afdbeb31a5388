"""A new class of a label column, or more examples of one, without training: the column's head is fitted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.reading.inputs import Given
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.models.add_class import class_place
from fewtune.models.fitting import fit_head
from fewtune.models.joint.model import Floats, JointBundle, JointSupport, TaskModel, answers_of, unit
from fewtune.models.joint.predict import load_joint_backbones
from fewtune.models.joint.rows import joint_features, numbers_of, row_digests
from fewtune.models.predict import Running
from fewtune.models.suggest import needless
from fewtune.statistics import Interval
from fewtune.statistics.metric_intervals import metric_interval
from fewtune.words import counted, option

FOLDS = 5
Integers = np.ndarray[Any, np.dtype[np.int64]]


@final
@dataclass(frozen=True, eq=False)
class JointAdded:
    """The larger model, and what changed, in sentences."""

    bundle: JointBundle
    sentences: tuple[str, ...]


def add_joint_class(
    bundle: JointBundle, column: str | None, name: str, given: Given, *, more: bool = False, running: Running | None = None
) -> JointAdded:
    """The model with the given rows as a class called `name` of a label column; with `more`, as further rows of a class that it has.

    `column`: by default the only column of classes. The rows say nothing of the other columns, which stay as they are. Rows that the model
    learned from and copies are left out. Raises InputError for a column that has no classes or that a network answers, for a name that
    exists (or, with `more`, does not exist), and where no row is left.
    """
    place = _place(bundle, column)
    task, support = bundle.tasks[place], bundle.support
    if support is None or place not in support.labels:
        raise InputError(
            f"{task.name!r} is answered by a network or was saved without its rows: a class is added to it only by making the model again."
        )
    names, label = class_place(task.names, name, more)
    here = running or Running()
    numbers, examples = numbers_of(bundle, given), given.examples
    features, bad = joint_features(bundle, load_joint_backbones(bundle, here), examples, numbers, skip_bad=True, quiet=here.quiet)
    digests = row_digests(examples, numbers)
    reasons = dict(bad) | needless(digests, examples.row_names, bundle.learned, bad)
    kept = np.array([row for row in range(len(examples)) if row not in reasons], dtype=np.int64)
    if not len(kept):
        first = min(reasons)
        raise InputError(f"no example of {names[label]!r} is left: {examples.row_names[first]} ({reasons[first]}).")
    larger = _larger(support, features[task.fitted.backbone][kept], place, label)
    known = np.flatnonzero(larger.labels[place] >= 0)
    state, parameters = _fitted(task, larger.features, known, larger.labels[place], len(names))
    labels = larger.labels[place][known]
    shares = np.bincount(labels, minlength=len(names)) / len(labels)
    expected = _expected(task, larger, place, known, len(names))
    made = replace(
        task,
        names=names,
        fitted=replace(task.fitted, state=state, parameters=parameters),
        expected=expected,
        guessing=task.judged.of(np.tile(shares, (len(labels), 1)), labels),
        rows=len(known),
    )
    tasks = tuple(made if at == place else one for at, one in enumerate(bundle.tasks))
    learned = bundle.learned | {digests[row] for row in kept}
    left_out = [(examples.row_names[row], why) for row, why in sorted(reasons.items())]
    said = _sentences(made, task, names[label], len(kept), left_out)
    facts = {**bundle.facts, "added": [*bundle.facts.get("added", []), {"column": task.name, "class": names[label], "rows": len(kept)}]}
    card = bundle.card + "\n".join(("", "## Changed since", *(f"- {one}" for one in said), ""))
    return JointAdded(replace(bundle, tasks=tasks, learned=learned, support=larger, facts=facts, card=card), said)


def _place(bundle: JointBundle, column: str | None) -> int:
    """Which column gets the class."""
    classes = {task.name: place for place, task in enumerate(bundle.tasks) if task.kind == "class"}
    listed = ", ".join(classes) or "none"
    if column is None and len(classes) != 1:
        raise InputError(f"say which column the class is of, with {option('--column NAME')}: its columns of classes are {listed}.")
    if column is not None and column not in classes:
        raise InputError(f"this model has no column of classes {column!r}: its columns of classes are {listed}.")
    return next(iter(classes.values())) if column is None else classes[column]


def _larger(support: JointSupport, features: Tensor, place: int, label: int) -> JointSupport:
    """The support with new rows, which have a label in one column alone."""
    new: Mapping[int, Integers] = {at: np.full(len(features), label if at == place else -1, dtype=np.int64) for at in support.labels}
    labels = {at: np.concatenate([one, new[at]]) for at, one in support.labels.items()}
    return JointSupport(torch.cat([support.features, features.cpu()]), labels)


def _fitted(task: TaskModel, features: Tensor, rows: Integers, labels: Integers, ways: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return fit_head(task.fitted.method, unit(features), rows, labels[rows], ways, None)


def _expected(task: TaskModel, support: JointSupport, place: int, known: Integers, ways: int) -> Interval | None:
    """What the column's metric is on held-out folds of all its rows; None where a class has too few rows to be held out."""
    labels = support.labels[place]
    if np.bincount(labels[known], minlength=ways).min() < 2:
        return None
    fold = np.zeros(len(labels), dtype=np.int64)
    random = key(0, "add class").generator()
    for label in range(ways):
        mine = random.permutation(known[labels[known] == label])
        fold[mine] = np.arange(len(mine)) % FOLDS
    answers: Floats = np.zeros((len(known), ways))
    for number in np.unique(fold[known]):
        inside, asked = known[fold[known] != number], fold[known] == number
        state, parameters = _fitted(task, support.features, inside, labels, ways)
        outputs = replace(task.fitted, state=state, parameters=parameters).outputs(support.features[torch.from_numpy(known[asked])])
        answers[asked] = answers_of("class", outputs, task.scale, task.temperature)
    return metric_interval(task.judged, answers, labels[known])


def _sentences(made: TaskModel, before: TaskModel, name: str, rows: int, left_out: list[tuple[str, str]]) -> tuple[str, ...]:
    grown = len(made.names) > len(before.names)
    what = f"Class {name} of {made.name} was added from" if grown else f"To class {name} of {made.name} were added"
    said = [f"{what} {counted(rows, 'example')}; its head was fitted again on {counted(made.rows, 'row')} of {len(made.names)} classes."]
    if left_out:
        said.append(f"{counted(len(left_out), 'row', ('was', 'were'))} left out, for example {left_out[0][0]} ({left_out[0][1]}).")
    if made.expected is None:
        said.append(f"What to expect of {made.name} now is not known: `fewtune evaluate` measures it on labelled rows.")
    else:
        one = made.expected
        said.append(
            f"Expect {made.metric} {one.mean:.2f} ({one.low:.2f} to {one.high:.2f}) of {made.name}, by cross-validation on all its rows."
        )
    return tuple(said)
