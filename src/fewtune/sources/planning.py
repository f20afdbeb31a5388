"""What a budget of time affords: the rows of a class that are read, and the rows that each training run may look at."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning.budget import each_phase, fit_phases, step_visits
from fewtune.learning.phase import phases_of
from fewtune.learning.train import train
from fewtune.sides.clock import Clock
from fewtune.sides.guard import FOLDS
from fewtune.sides.own import LEAST_ROWS, LEAST_STEPS
from fewtune.sources.advice import LOOKS, SHARES
from fewtune.sources.finetune import MOST_SOURCES, SWEEP, Finetuner

MOST_VISITS = 60_000  # rows that a run looks at, however long the budget is
_FORWARD = 0.3  # the cost of looking at a row, as a part of its cost in training
READ = 0.25  # of the budget at most, for embedding the sources
_TRIED = 32  # rows that the speed of embedding is measured on
PLANNED = 0.8  # of the time that is left: embedding and the choice of learners need the rest
_MEASURED = 3  # steps
_SLOW = 0.1  # of the time that is left: where a first step takes more, a run of 50 steps with all its trials does not fit


def affordable_rows(sources: Sequence[Examples], most: int, clock: Clock, target: Target, frozen: Side) -> int:
    """How many rows of a class may be read in the time that is left, `most` or fewer."""
    if math.isinf(clock.minutes):
        return most
    return rows_within(sources, most, READ * clock.left / seconds_a_row(target, frozen))


def rows_within(sources: Sequence[Examples], most: int, affordable: float) -> int:
    """How many rows of a class may be looked at, `most` or fewer, so that they are `affordable` rows together; 2 at least."""
    counts = np.concatenate([source.counts() for source in sources])
    return next((rows for rows in range(most, 2, -1) if np.minimum(counts, rows).sum() <= affordable), 2)


def seconds_a_row(target: Target, frozen: Side) -> float:
    """The cost of embedding a row, reading it included."""
    space, backbone = RowSpace([target.examples]), frozen.backbone
    few, weights = target.support[:_TRIED], backbone.start()
    with torch.no_grad():
        backbone.embed(weights, space, few[:1])  # the first pass pays for what later ones share
        began = time.monotonic()
        backbone.embed(weights, space, few)
    return max(time.monotonic() - began, 1e-9) / len(few)


@final
@dataclass(frozen=True)
class Cost:
    """What finetuning on the sources takes: `seconds` a visit, `runs` (trials count as parts of one), and `looks`, the visits' worth of all
    looks at validation tasks, and of computing once a row what lies below the moving weights."""

    seconds: float
    runs: float
    looks: float

    def visits_within(self, seconds: float) -> int:
        """The rows that each run may look at, so that all of them fit."""
        return int(max(0, min(MOST_VISITS, (PLANNED * seconds / self.seconds - self.looks) / self.runs)))

    def minutes_for(self, visits: float) -> float:
        """The minutes after the sources were read that runs of so many visits take."""
        return (visits * self.runs + self.looks) * self.seconds / PLANNED / 60


def cost_of(tuner: Finetuner, *, tries: int, own_splits: bool, left: float = math.inf) -> Cost:
    """What this tuner takes on this machine. `tries`: values of p that are tried. `own_splits`: whether it finetunes once more for each of
    the folds that judge it. `left`: the seconds of the budget that are left."""
    runs = 1 + (FOLDS if own_splits else 0)
    tried = tries * runs  # each fold chooses its own
    looks = LOOKS * len(tuner.rates) + len(SHARES) - 1 + tried  # the run itself looked at its end
    judged = _FORWARD * (looks * looked_at(tuner, tuner.source_rows.names[:MOST_SOURCES]) + len(tuner.source_rows.space))
    return Cost(seconds_a_visit(tuner, left), runs + SWEEP * (len(tuner.rates) + tried), judged)


def seconds_a_visit(tuner: Finetuner, left: float = math.inf) -> float:
    """The cost of looking at one row in training, measured in a few steps on all sources; in one where a step takes so much of the `left`
    seconds that no run fits."""
    tasks = tuner.train_tasks()
    phases, _ = fit_phases(next(iter(tuner.variants.values())).phases, tasks)
    few = each_phase(phases, lambda phase: replace(phase, steps=1))
    first = train(tuner.ground(), few, tasks, key(tuner.seed, "speed"))  # it pays for what later ones share
    steps = _MEASURED if first.seconds <= _SLOW * left else 1
    more = each_phase(phases, lambda phase: replace(phase, steps=steps))
    done = train(tuner.ground(), more, tasks, key(tuner.seed, "speed"))
    return done.seconds / max(done.visits, 1)


def looked_at(tuner: Finetuner, sources: Sequence[str]) -> int:
    """Rows that one look at the validation tasks of some sources takes."""
    rows = [t.numpy().reshape(-1) for e in tuner.judge.validation(sources) for t in (e.support, e.query)]
    return len(np.unique(np.concatenate(rows))) if rows else 0


def least_visits(tuner: Finetuner) -> int:
    """The rows that a run of 50 steps of at least 32 rows looks at: fewer are not worth a run."""
    tasks = tuner.train_tasks()
    phases, _ = fit_phases(next(iter(tuner.variants.values())).phases, tasks)
    return int(LEAST_STEPS * max(LEAST_ROWS, *(step_visits(phase, tasks) for phase in phases_of(phases))))
