"""How well each way answers each task, on rows it has not seen, and whether learning tasks together helps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.data.reading.kinds import KINDS
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError, unknown
from fewtune.joint.rows import JointRows, JointTask
from fewtune.models.joint.model import COVERED, Floats, answers_of
from fewtune.statistics import Interval, fit_temperature
from fewtune.statistics.known import Kind
from fewtune.statistics.metric_intervals import metric_difference, metric_interval
from fewtune.statistics.metrics import METRICS, Metric, default_metric

Verdict: TypeAlias = Literal["helps", "hurts", "not shown"]
INDEPENDENT, TOGETHER = "independent", "shared_bottom"
IN_WORDS: Mapping[Kind, str] = MappingProxyType({"class": "classes", "float": "numbers", "multi": "several labels"})
NO_METRICS: Mapping[str, str] = MappingProxyType({})


@final
@dataclass(frozen=True, eq=False)
class Judged:
    """One way's held-out answers [n, ...] to the labelled rows of a task, in the order of `JointTask.train`.

    `loss`: mean log-loss (natural logarithm) of classes and labels, mean squared error in standard deviations of numbers. `value`: the
    task's metric. `half`: of numbers, 90% of the answers are at most so far from the truth.
    """

    answers: Floats
    temperature: float
    loss: float
    value: Interval
    half: float


@final
@dataclass(frozen=True, eq=False)
class Sharing:
    """One task learned alone or with the others: the gain of together over alone in the task's metric, its p, and what it says."""

    gain: Interval
    p: float
    verdict: Verdict


@final
@dataclass(frozen=True, eq=False)
class TaskJudged:
    """One task: every way by its name, the one with the least loss, the value of always giving one answer, and what sharing does."""

    task: JointTask
    metric: Metric
    ways: Mapping[str, Judged]
    chosen: str
    guessing: float
    sharing: Sharing | None

    @property
    def best(self) -> Judged:
        return self.ways[self.chosen]

    def over(self, way: str, other: str, folds: int | None) -> Sharing:
        """What a way gives over another one, on the rows that both answered."""
        truth = truth_of(self.task, self.task.train)
        return sharing_of(self.metric, self.ways[way].answers, self.ways[other].answers, truth, folds)


def metric_of(kind: Kind, metrics: Mapping[str, str] = NO_METRICS) -> Metric:
    """The metric that columns of a kind are judged by: the one given for the kind, or the usual one."""
    return METRICS[metrics[kind]] if kind in metrics else default_metric(kind)


def kinds_of(table: LabelTable) -> set[Kind]:
    """The kinds of the label columns of a table."""
    return {column.kind for column in table.examples.columns.values()}


def metrics_by_kind(names: Sequence[str], kinds: Collection[Kind] = KINDS) -> dict[str, str]:
    """Metrics by the kinds of columns they are for; of two for one kind the last.

    `kinds`: those of the label columns. Raises InputError for an unknown name, and for a metric by which no column would be judged.
    """
    found: dict[str, str] = {}
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        found |= dict.fromkeys(METRICS[name].kinds, name)
    for name in names:
        if all(found[kind] != name or kind not in kinds for kind in METRICS[name].kinds):
            suits = " and ".join(IN_WORDS[kind] for kind in METRICS[name].kinds)
            raise InputError(f"no label column is judged by {name}, which is for columns of {suits}: leave it out, or give it alone.")
    return found


def truth_of(task: JointTask, rows: Integers) -> Any:
    """What labelled rows are, as metrics take it: class integers, numbers, or 0 and 1 with NaN unknown."""
    values = task.column.values[rows]
    if task.column.kind == "float":
        return values[:, 0]
    return values if task.column.kind == "class" else np.where(values < 0, np.nan, values)


def judged_task(
    rows: JointRows,
    place: int,
    outputs: Mapping[str, Floats],
    folds: int,
    *,
    pair: tuple[str, str] | None = (INDEPENDENT, TOGETHER),
    metrics: Mapping[str, str] = NO_METRICS,
) -> TaskJudged:
    """A task by the held-out outputs [N, outputs] of each way; `pair`: the ways that learn it alone and together; `metrics`: by kind,
    instead of the usual one."""
    task = rows.tasks[place]
    metric = metric_of(task.column.kind, metrics)
    truth = truth_of(task, task.train)
    ways = {name: _judged(task, metric, found[task.train], truth) for name, found in outputs.items()}
    chosen = min(ways, key=lambda name: ways[name].loss)
    sharing = None
    if pair is not None and set(pair) <= ways.keys():
        alone, together = (ways[name].answers for name in pair)
        sharing = sharing_of(metric, together, alone, truth, folds)
    return TaskJudged(task, metric, ways, chosen, guessing(task, metric, truth), sharing)


def sharing_of(metric: Metric, together: Floats, alone: Floats, truth: Any, folds: int | None) -> Sharing:
    """Whether answers learned together are better than those learned alone, on the same rows: shown where the 95% interval is on one side
    of 0 and p is at most 0.05 (of four rows that all differ by the same, the interval is a point but p is 1/8)."""
    gain, p = metric_difference(metric, together, alone, truth, folds=folds)
    verdict: Verdict = "not shown" if p > 0.05 or gain.low <= 0 <= gain.high else "helps" if gain.mean > 0 else "hurts"
    return Sharing(gain, p, verdict)


def _judged(task: JointTask, metric: Metric, outputs: Floats, truth: Any) -> Judged:
    temperature = fit_temperature(outputs, truth) if task.column.kind == "class" else 1.0
    answers = answers_of(task.column.kind, outputs, task.scale, temperature)
    half = float("nan")
    if task.column.kind == "float":
        errors = np.abs(answers - truth)
        loss = float(np.mean((errors / task.scale[1]) ** 2))
        half = _at_most(errors)
    else:
        loss = METRICS["log_loss"].of(answers, truth)
    return Judged(answers, temperature, loss, metric_interval(metric, answers, truth), half)


def _at_most(errors: Floats) -> float:
    """The bound that 90% of new errors are below, by split conformal prediction: the ceil(.9 (n + 1))-th smallest, NaN for fewer than 9."""
    rank = math.ceil(COVERED * (len(errors) + 1))
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else float("nan")


def guessing(task: JointTask, metric: Metric, truth: Any) -> float:
    """The metric of always giving the same answer: the shares of the classes or labels, or the mean. 0 for a rank correlation, which has no
    value there."""
    if task.column.kind == "float":
        return 0.0 if metric.name == "spearman" else metric.of(np.full(len(truth), truth.mean()), truth)
    if task.column.kind == "class":
        shares = np.bincount(truth, minlength=task.outputs) / len(truth)
    else:
        shares = np.nan_to_num(np.nanmean(truth, axis=0))
    return metric.of(np.tile(shares, (len(truth), 1)), truth)
