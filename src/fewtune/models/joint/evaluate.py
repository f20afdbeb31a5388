"""How a model of several label columns does on labelled rows that it was not learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.backbones.providers.text_options import fields_of_name
from fewtune.data.examples import Column
from fewtune.data.reading.label_table import LabelTable, Wanted, read_label_table, table_from
from fewtune.data.reading.labels import missing
from fewtune.data.same_names import match_names
from fewtune.errors import InputError
from fewtune.models.joint.model import Floats, JointBundle, TaskModel
from fewtune.models.joint.predict import load_joint_backbones
from fewtune.models.joint.rows import Backbones, joint_features, row_digests
from fewtune.models.predict import Running
from fewtune.statistics import Interval
from fewtune.statistics.metric_intervals import metric_interval
from fewtune.statistics.metrics import METRICS
from fewtune.words import counted, option

SHOWN = {"class": ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "auc"), "float": ("r2", "rmse", "mae", "spearman")}
SHOWN_MULTI = ("average_precision", "micro_f1", "macro_f1", "auc")


@final
@dataclass(frozen=True, eq=False)
class TaskMeasured:
    """What one label column gets: its metric with a 95% interval over `rows` rows, and other metrics by name."""

    name: str
    metric: str
    value: Interval
    others: Mapping[str, float]
    rows: int


@final
@dataclass(frozen=True, eq=False)
class JointEvaluation:
    """What a model gets right on labelled rows of `data`, task by task. `sentences`: what was left out, and why."""

    data: str
    tasks: tuple[TaskMeasured, ...]
    sentences: tuple[str, ...]


def evaluate_joint(
    bundle: JointBundle,
    source: Any,
    *,
    input: str | tuple[str, ...] | None = None,
    include_learned: bool = False,
    skip_unknown: bool = False,
    skip_bad: bool = False,
    running: Running | None = None,
    backbones: Backbones | None = None,
) -> JointEvaluation:
    """Every task that has a label column in the table, by its own metrics; rows without a label in a column do not count there.

    Rows that the model learned from are left out unless `include_learned`. Raises InputError where no column is a label of this model, for
    classes that it does not have (unless `skip_unknown`, which leaves them out), and where no row is left.
    """
    here = running or Running()
    table, unlabelled = _read(bundle, source, input)
    loaded = load_joint_backbones(bundle, here) if backbones is None else backbones
    features, bad = joint_features(bundle, loaded, table.examples, table.numbers, skip_bad=skip_bad, quiet=here.quiet)
    kept = np.ones(len(table.examples), dtype=bool)
    kept[list(bad)] = False
    said = [f"Left out because it cannot be read: {counted(len(bad), 'row')}."] if bad else []
    if not include_learned:
        learned = np.array([digest in bundle.learned for digest in row_digests(table.examples, table.numbers)])
        if (seen := int((learned & kept).sum())) == int(kept.sum()):
            raise InputError(f"the model learned from every row of {table.examples.name}: give others, or {option('--include-learned')}.")
        said += [f"Left out because the model learned from it: {counted(seen, 'row')}."] if seen else []
        kept &= ~learned
    measured = []
    for task in bundle.tasks:
        if task.name in unlabelled:
            said.append(f"{task.name} is not measured: no row that counts has a label in it.")
            continue
        if task.name not in table.examples.columns:
            said.append(f"{task.name} is not measured: {table.examples.name} has no such column.")
            continue
        truth, strange = _truth(task, table.examples.columns[task.name])
        if strange and not skip_unknown:
            raise InputError(
                f"column {task.name!r} has labels that this model does not have: {', '.join(strange[:5])}; rename them, or leave them out "
                f"with {option('--skip-unknown')}."
            )
        rows = np.flatnonzero(kept & _labelled(truth))
        if len(rows):
            measured.append(measured_task(task, task.answers(features[task.fitted.backbone][rows]), truth[rows]))
        else:
            said.append(f"{task.name} is not measured: no row that counts has a label in it.")
    if not measured:
        raise InputError(f"{table.examples.name}: no row with a label is left to measure on.")
    return JointEvaluation(table.examples.name, tuple(measured), tuple(said))


def measured_task(task: TaskModel, answers: Floats, truth: Floats) -> TaskMeasured:
    """One task's metrics on labelled rows: `answers` as `TaskModel.answers` gives them, `truth` class integers, numbers or 0 and 1."""
    names = SHOWN.get(task.kind, SHOWN_MULTI)
    others = {name: METRICS[name].of(answers, truth) for name in names if name != task.metric}
    return TaskMeasured(task.name, task.metric, metric_interval(task.judged, answers, truth), others, len(truth))


def _read(bundle: JointBundle, source: Any, input: str | tuple[str, ...] | None) -> tuple[LabelTable, set[str]]:
    """(the table with the label columns of this model, those of them that have no label in any row)."""
    whole = table_from(source)
    columns = whole.columns
    present = [task for task in bundle.tasks if task.name in columns]
    if not present:
        raise InputError(
            f"expected a column with labels of this model, {', '.join(task.name for task in bundle.tasks[:8])}, found the columns "
            f"{', '.join(list(columns)[:12])}."
        )
    unlabelled = {task.name for task in present if all(missing(value) for value in columns[task.name])}
    kinds = {task.name: task.kind for task in present if task.name not in unlabelled}
    if not kinds:
        raise InputError(f"{whole.name}: no row has a label to measure on.")
    fields = () if bundle.backbone is None else fields_of_name(bundle.backbone.name)
    chosen = input or bundle.input or fields or None
    wanted = Wanted(labels=tuple(kinds), kinds=kinds, numbers=bundle.numbers, input=chosen)
    return read_label_table(source, wanted, empty=True), unlabelled


def _truth(task: TaskModel, column: Column) -> tuple[Any, list[str]]:
    """(the truth of every row in the model's own classes, labels that the model does not have)."""
    if task.kind == "float":
        return column.values[:, 0], []
    place = match_names(column.names, task.names)
    strange = [name for name, found in zip(column.names, place, strict=True) if found < 0]
    if task.kind == "class":
        return np.where(column.values >= 0, np.append(place, -1)[column.values], -1), strange
    truth = np.zeros((len(column.values), len(task.names)))
    for label, found in enumerate(place):
        if found >= 0:
            truth[:, found] = column.values[:, label]
    truth[~column.known] = np.nan
    return np.where(truth < 0, np.nan, truth), strange


def _labelled(truth: Any) -> Any:
    if truth.ndim == 2:
        return ~np.isnan(truth).all(axis=1)
    return ~np.isnan(truth) if truth.dtype.kind == "f" else truth >= 0
