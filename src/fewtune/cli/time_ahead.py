"""How long the main job will take: simple terms of the size of the data, times speeds that are measured on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fewtune.learners import choice, forecast
from fewtune.learners.choice import HELD_OUT_ANSWERS
from fewtune.recipes.default_learners import MOST_MATCHING_ROWS, is_large
from fewtune.report.maps import MOST_ROWS
from fewtune.sides.guard import FOLDS
from fewtune.sides.own import LEAST_ROWS, LEAST_STEPS
from fewtune.sides.planning import repeats_within
from fewtune.sources.finetune import SWEEP
from fewtune.sources.planning import MOST_VISITS, PLANNED, READ

_FOLD, _FEATURE, _CLASS, _ROW = 1.1e-3, 3.8e-8, 1.8e-6, 5.2e-8
"""Seconds that a learner takes for one fold, on the reference machine: a constant, and for each row so much for each feature, each class
and each other row. Fitted to 13 jobs of 24 to 2,500 rows, 2 to 50 classes and 128 to 1,280 features (docs/benchmarks.md)."""
_PAGE, _PAGE_ROW = 2.7, 0.005  # seconds to write the model and its page: a constant, mostly imports, and for each row
_TRAINED = 3.0  # a row in training takes about three times as long as embedding it, where it was not measured


@final
@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What was measured on this machine.

    `row`: seconds to embed a row. `slower`: how many times longer a learner takes here than on the reference machine. `run`: seconds of
    one run of finetuning on own labels, 0 where none is planned; `tried`: of measuring that again, on a whole batch, before it is planned.
    `visit`: seconds of looking at a row in a run on other data, 0 where that was not measured.
    """

    row: float
    slower: float = 1.0
    run: float = 0.0
    tried: float = 0.0
    visit: float = 0.0


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done.

    `rows` are embedded; so many of them are `labelled`, in `classes`, with `features` numbers a row. `learners` are compared on `folds`.
    `methods`: how many finetune on own labels, in a `share` of the time that is left. `others`: rows of other data. `source_runs`: training
    runs on them, a trial counted as part of one, and the `visits` of each, 0 for as many as the time allows. `minutes`: the budget.
    """

    rows: int
    labelled: int
    classes: int
    features: int
    learners: int = 5
    folds: int = 5
    methods: int = 1
    share: float = 1.0
    others: int = 0
    source_runs: float = 0.0
    visits: int = 0
    minutes: float = math.inf


def runs_on_sources(rates: int, tries: int, *, judged: bool) -> float:
    """Training runs on other data: one, and one for each fold that judges it; rates, and values of p in each, are tried in shorter runs."""
    runs = 1 + FOLDS * judged
    return runs + SWEEP * (rates + tries * runs)


def seconds_ahead(work: Work, speed: Speeds) -> float:
    """Seconds until the model is saved: rows x seconds to embed one; folds x learners x rows x (features, classes, rows), anew in each fold
    where finetuning is judged; training runs x seconds of one, within the budget; and a constant for the page, and so much a row.
    """
    compared = _comparing(work, work.labelled)
    before = work.rows * speed.row + compared * speed.slower + work.methods * speed.tried
    left = max(0.0, 60 * work.minutes - before)
    repeats = repeats_within(work.share * left, speed.run) if speed.run else 0
    trained = min(work.methods * (FOLDS * repeats + 1) * speed.run, left) if repeats else 0.0
    read, runs = _on_sources(work, speed, left - trained) if work.source_runs else (0.0, 0.0)
    judged = max(repeats, int(runs > 0))
    again = judged * FOLDS * _comparing(work, work.labelled * (FOLDS - 1) // FOLDS) + compared * (judged > 0)
    page = _PAGE + _PAGE_ROW * min(work.labelled, MOST_ROWS)
    return before + trained + read + runs + (again + compared * _curve(work.labelled) + page) * speed.slower


def _comparing(work: Work, rows: int) -> float:
    """Of all learners on the reference machine: each answers every fold of the repeated splits of so many rows."""
    each = _FOLD + rows * (_FEATURE * work.features + _CLASS * work.classes + _ROW * min(rows, MOST_MATCHING_ROWS))
    if is_large(rows, work.classes):
        each = _FOLD + rows * _FEATURE * work.features
    return work.learners * work.folds * _repeats(rows, choice.MOST_REPEATS) * each


def _curve(rows: int) -> float:
    """The learning curve, as a part of comparing all learners: one of them learns from several sizes of every fold, in fewer repeats."""
    curve = _repeats(rows, forecast.MOST_REPEATS)
    return curve / _repeats(rows, choice.MOST_REPEATS)


def _repeats(rows: int, most: int) -> int:
    return min(most, max(1, HELD_OUT_ANSWERS // max(rows, 1)))


def _on_sources(work: Work, speed: Speeds, left: float) -> tuple[float, float]:
    """Seconds to embed the other data, and of the runs on it: as long as fits into the `left` seconds, or not at all."""
    read, visit = min(work.others * speed.row, READ * left), work.source_runs * (speed.visit or _TRAINED * speed.row)
    fit = PLANNED * (left - read) / visit if visit and not math.isinf(left) else math.inf
    visits = work.visits or min(MOST_VISITS, fit)
    return read, visits * visit if work.visits or visits >= LEAST_STEPS * LEAST_ROWS else 0.0
