"""Which rows to label next for a model of several label columns: those that its columns are unsure of, far from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.reading.inputs import Given
from fewtune.errors import InputError
from fewtune.models.joint.model import Floats, JointBundle, TaskModel
from fewtune.models.joint.predict import JointAnswers, answers_to, load_joint_backbones
from fewtune.models.joint.rows import joint_features, numbers_of, row_digests
from fewtune.models.predict import Running
from fewtune.models.suggest import needless, weighted_and_diverse
from fewtune.words import counted


@final
@dataclass(frozen=True, eq=False)
class JointSuggested:
    """`rows`: places among the given ones, the most uncertain first; `unsure` of each, 0 to 1, the mean over columns of classes and labels
    (None where the model has only numbers). `answers`: what the model says of them now. `left_out`: (row, reason)."""

    rows: tuple[int, ...]
    unsure: tuple[float | None, ...]
    answers: JointAnswers
    left_out: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def suggest_joint(bundle: JointBundle, given: Given, count: int, *, running: Running | None = None, seed: int = 0) -> JointSuggested:
    """At most `count` rows to label next. Rows that the model learned from, copies and rows that cannot be read are left out.

    How unsure a column of classes is of a row: 1 minus the gap between its two likeliest classes; of several labels: the mean of
    1 - |2 p - 1|. Columns of numbers say nothing of it. Rows are then chosen as for one column (`suggest.uncertain_and_diverse`).
    Raises InputError where no row is left, and for a count below 1.
    """
    if count < 1:
        raise InputError(f"expected a count of 1 row or more to suggest, found {count}.")
    here = running or Running()
    numbers, examples = numbers_of(bundle, given), given.examples
    features, bad = joint_features(bundle, load_joint_backbones(bundle, here), examples, numbers, skip_bad=True, quiet=here.quiet)
    reasons = dict(bad) | needless(row_digests(examples, numbers), examples.row_names, bundle.learned, bad)
    left = np.array([row for row in range(len(examples)) if row not in reasons], dtype=np.int64)
    if not len(left):
        first = next(iter(sorted(reasons)))
        raise InputError(f"no row is left to suggest: {examples.row_names[first]} ({reasons[first]}).")
    judging = [task for task in bundle.tasks if task.kind != "float"]
    unsure = np.mean([_unsure(task, task.answers(features[task.fitted.backbone][left])) for task in judging], axis=0) if judging else None
    seen = features[bundle.places[0]][left].double().numpy()
    chosen = weighted_and_diverse(seen, np.ones(len(left)) if unsure is None else unsure, count, seed=seed)
    rows = left[chosen]
    said = {task.name: answers_to(task, features[task.fitted.backbone][rows]) for task in bundle.tasks}
    return JointSuggested(
        rows=tuple(rows.tolist()),
        unsure=(None,) * len(rows) if unsure is None else tuple(unsure[chosen].tolist()),
        answers=JointAnswers([examples.row_names[row] for row in rows], said, {}),
        left_out=tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items())),
        sentences=_sentences(len(rows), len(left), unsure is None, [(examples.row_names[r], why) for r, why in sorted(reasons.items())]),
    )


def _unsure(task: TaskModel, p: Floats) -> Floats:
    """How unsure a column is of each row, 0 to 1."""
    if task.kind == "multi":
        found: Floats = (1 - np.abs(2 * p - 1)).mean(axis=1)
        return found
    top = np.sort(p, axis=1)
    margin: Floats = 1 - (top[:, -1] - top[:, -2])
    return margin


def _sentences(rows: int, of: int, bare: bool, left_out: list[tuple[str, str]]) -> tuple[str, ...]:
    how = "those that its columns are least sure of, far from one another"
    if bare:
        how = "rows far from one another (columns of numbers do not say how sure they are)"
    said = [f"Label {counted(rows, 'row')} of {of:,}: {how}."]
    if left_out:
        said.append(f"{counted(len(left_out), 'row', ('was', 'were'))} left out, for example {left_out[0][0]} ({left_out[0][1]}).")
    return tuple(said)
