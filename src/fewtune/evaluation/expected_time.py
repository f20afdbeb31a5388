"""What the cells of a study will cost, from a few episodes and a few training steps that are measured here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.evaluation.answers import score_each
from fewtune.evaluation.cells import Cell, cells_of
from fewtune.evaluation.partial import NOTHING
from fewtune.evaluation.run_study import Runner, answer_frozen, tested_on
from fewtune.evaluation.study import DEFAULTS, Bench, Study
from fewtune.evaluation.trainer import Learning
from fewtune.keys import key
from fewtune.learning.budget import each_phase, of_length, total_visits
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt
from fewtune.learning.train import train
from fewtune.learning.world import ALONE

STEPS, EPISODES, ROWS = 3, 8, 32  # of each phase, of each setting, and rows that are embedded, to measure


@final
@dataclass(frozen=True)
class Expected:
    """A cell, the source rows that its training looks at, and the seconds that it is expected to take on a machine like this one."""

    cell: Cell
    visits: int
    seconds: float


def expected_times(bench: Bench) -> list[Expected]:
    """The cells of a bench in order. Cells of one method on one target and backbone are measured once."""
    runner = Runner(bench, NOTHING)
    known: dict[tuple[int, str], tuple[int, float, float]] = {}
    found = []
    for cell in cells_of(bench):
        place = (cell.study, cell.method)
        if place not in known:
            study = bench.studies[cell.study]
            known[place] = _measured(study, cell.method, runner.learning(cell.study))
        visits, training, testing = known[place]
        judged = cell.variant is not None
        found.append(Expected(cell, visits, training + (0.0 if judged else testing)))
    return found


def _measured(study: Study, name: str, learning: Learning) -> tuple[int, float, float]:
    """(visits, seconds of training, seconds of testing) of a method."""
    method = study.methods[name][DEFAULTS]
    if method.frozen:
        return 0, 0.0, _answering(study, method)
    visits, training = 0, 0.0
    if method.phases:
        phases, tasks = learning.planned(name, method)
        trial = each_phase(phases, lambda phase: of_length(phase, min(phase.steps, STEPS)))
        ground = Ground(study.backbone, study.source or study.target, method.edits)
        few, whole = total_visits(trial, tasks), total_visits(phases, tasks)
        spent = _timed(lambda: train(ground, trial, tasks, key(0, "trial"), world=ALONE, quiet=True))
        visits, training = round(whole), spent * whole / max(few, 1.0)
    return visits, training, _answering(study, method)


def _answering(study: Study, method: Method) -> float:
    """Seconds of answering the test episodes: by a head on few of them, by adapting on one, and of embedding rows anew where weights
    moved.
    """
    batches = list(tested_on(method, study.draw(), study.training.adapted).values())
    ground = Ground(study.backbone, study.target, method.edits)
    if method.frozen:
        each = [_timed(lambda e=e: answer_frozen(study, method.head, e[:EPISODES])) * len(e) / min(len(e), EPISODES) for e in batches]  # type: ignore[misc]
        return sum(each)
    start = ground.start()
    if isinstance(method.learner, Adapt):
        return sum(_timed(lambda e=e: score_each(ground, method.learner, start, [e[:1]])) * len(e) for e in batches)  # type: ignore[misc]
    rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in batches for t in (e.support, e.query)]))
    spent = _timed(lambda: study.backbone.embed(study.backbone.start(), study.target, rows[rows >= 0][:ROWS]))
    return spent * len(rows) / min(len(rows), ROWS)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
