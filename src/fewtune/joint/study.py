"""Comparing methods on label columns: all learn from the same rows and answer the same held-out ones, once a training seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError
from fewtune.joint.adapt import USUAL, sharing_method
from fewtune.joint.folds import check_differ, fold_of_rows
from fewtune.joint.judged import metric_of, truth_of
from fewtune.joint.networks import fit_network
from fewtune.joint.rows import JointRows, joint_rows
from fewtune.joint.ways import HEADS, fit_head, outputs_for
from fewtune.keys import check_seeds, key
from fewtune.learning.method import Method
from fewtune.models.joint.model import Floats, answers_of
from fewtune.parts.sharing import Mmoe, Utilisation, utilisation
from fewtune.progress import Progress
from fewtune.statistics import Interval
from fewtune.statistics.metric_seeds import runs_gain, runs_metric
from fewtune.statistics.metrics import Metric
from fewtune.words import counted

FROZEN = "heads"  # the method without a network: a ridge or logistic regression for each column
TEST_SHARE = 5  # one row in so many is held out where the table has no test rows


@final
@dataclass(frozen=True, kw_only=True)
class ColumnsStudy:
    """How methods are compared. `seeds`: of training, one run each. `metrics`: by kind of column, instead of the usual one. `split`: the
    seed by which a fifth of the rows is held out where the table has no test rows."""

    seeds: tuple[int, ...] = (0,)
    metrics: Mapping[str, str] = field(default_factory=dict)
    split: int = 0
    skip_bad: bool = False
    cache: Path | None = None
    quiet: bool = True

    def __post_init__(self) -> None:
        check_seeds(self.seeds, "training seeds")


@final
@dataclass(frozen=True, eq=False)
class ColumnResult:
    """What one method gets on one column: its metric over `seeds` runs (mean and 95% interval over rows and runs), the `values` of each
    run, and the `gain` over the first method with its `p` (None for the first)."""

    method: str
    column: str
    metric: Metric
    value: Interval
    values: tuple[float, ...]
    gain: Interval | None
    p: float | None
    rows: int


@final
@dataclass(frozen=True, eq=False)
class ColumnsComparison:
    """`results`: method by method, each column in order. `seconds`: of training, and `visits`: rows that training looked at, a run.
    `use`: of the experts of each mixture, one for each seed."""

    data: str
    methods: tuple[str, ...]
    columns: tuple[str, ...]
    results: tuple[ColumnResult, ...]
    seconds: Mapping[str, float]
    visits: Mapping[str, int]
    use: Mapping[str, tuple[Utilisation, ...]]
    train: int
    test: int
    seeds: tuple[int, ...]

    def of(self, method: str, column: str) -> ColumnResult:
        return next(r for r in self.results if r.method == method and r.column == column)


def compared_methods(texts: Sequence[str]) -> dict[str, Method | None]:
    """Methods by their text, None for `heads`; by default heads, a network for each column, and one that all share."""
    if not texts:
        return {FROZEN: None, **USUAL}
    return {text: None if text == FROZEN else sharing_method(text) for text in dict.fromkeys(texts)}


def compare_columns(
    table: LabelTable, backbone: Backbone | None, methods: Mapping[str, Method | None], study: ColumnsStudy | None = None
) -> ColumnsComparison:
    """Every method on every column. The first method is what the others are compared with, in pairs on the same rows and seeds.

    Rows of a split called test are held out, or a fifth of the rows where there are none. Raises InputError for columns without labels in
    one of the parts.
    """
    how = study or ColumnsStudy()
    if not methods:
        raise InputError("expected at least one method to compare.")
    rows = with_test(joint_rows(table, backbone, cache=how.cache, skip_bad=how.skip_bad, quiet=how.quiet), how.split)
    runs: dict[str, list[_Run]] = {name: [] for name in methods}
    with Progress(len(methods) * len(how.seeds), "training", quiet=how.quiet) as progress:
        for name, method in methods.items():
            for seed in how.seeds:
                again = method is None and runs[name]  # regressions are the same in every run
                runs[name].append(runs[name][0] if again else _run(rows, method, seed))
                progress.advance(1, name)
    return ColumnsComparison(
        data=table.examples.name,
        methods=tuple(methods),
        columns=tuple(task.name for task in rows.tasks),
        results=tuple(result for name in methods for result in _results(rows, name, runs, how)),
        seconds={name: sum(run.seconds for run in mine) / len(mine) for name, mine in runs.items()},
        visits={name: mine[-1].visits for name, mine in runs.items()},
        use={name: tuple(run.use for run in mine if run.use is not None) for name, mine in runs.items() if mine[0].use is not None},
        train=len(rows.train),
        test=len(rows.test),
        seeds=how.seeds,
    )


@final
@dataclass(frozen=True, eq=False)
class _Run:
    """One training run: its answers to the held-out rows of each column, and what it took. `use`: of the experts, where there are some."""

    answers: tuple[Floats, ...]
    seconds: float = 0.0
    visits: int = 0
    use: Utilisation | None = None


def _run(rows: JointRows, method: Method | None, seed: int) -> _Run:
    """A method learned from the rows to learn from, by one seed; None is a head for each column."""
    if method is None:
        heads = [fit_head(rows, task, next(iter(HEADS[task.column.kind].values())), rows.train) for task in rows.tasks]
        return _Run(_answers(rows, outputs_for(rows, heads, rows.test)))
    root = key(seed, "columns")
    network = fit_network(rows, method, rows.train, root, seed=seed)
    head, use = network.method.head, None
    if isinstance(head, Mmoe):
        use = utilisation(head, network.fitted[0].parameters, network.features(rows, rows.test))
    answers = _answers(rows, network.outputs(rows, rows.test))
    return _Run(answers, network.trained.seconds, network.trained.visits, use)


def with_test(rows: JointRows, seed: int) -> JointRows:
    """The same rows with some of them held out: those of the table's test split, else a fifth of the rows, dealt out label by label."""
    if len(rows.test):
        return rows
    if rows.copied:
        raise InputError("every test row has the input of a row that is learned from: give other test rows, or leave the split out.")
    check_differ(rows)
    fold = fold_of_rows(rows, TEST_SHARE, key(seed, "test"))
    test = np.flatnonzero(fold == 0)

    parted = rows.learned_on(np.setdiff1d(rows.train, test))
    tasks = tuple(replace(mine, test=np.intersect1d(task.train, test)) for mine, task in zip(parted.tasks, rows.tasks, strict=True))
    return replace(parted, tasks=tasks, test=test)


def _answers(rows: JointRows, outputs: Sequence[Floats]) -> tuple[Floats, ...]:
    """What outputs say of the held-out rows of each column."""
    pairs = zip(rows.tasks, outputs, strict=True)
    return tuple(answers_of(task.column.kind, found[task.test], task.scale) for task, found in pairs)


def _results(rows: JointRows, name: str, runs: Mapping[str, list[_Run]], how: ColumnsStudy) -> list[ColumnResult]:
    """One method's results on every column that has labels among the held-out rows."""
    first, found = next(iter(runs)), []
    for place, task in enumerate(rows.tasks):
        if not len(task.test):
            asked = counted(len(rows.test), "held-out row")
            raise InputError(f"label column {task.name!r} has no label among {asked}: leave it out, or label some of them.")
        truth = truth_of(task, task.test)
        metric = metric_of(task.column.kind, how.metrics)
        mine, theirs = ([run.answers[place] for run in runs[which]] for which in (name, first))
        gain, p = (None, None) if name == first else runs_gain(metric, mine, theirs, truth)
        values = tuple(metric.of(run, truth) for run in mine)
        found.append(ColumnResult(name, task.name, metric, runs_metric(metric, mine, truth), values, gain, p, len(truth)))
    return found
