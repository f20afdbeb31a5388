"""What a budget of time allows of finetuning on the target's own labels: whole runs with their folds, or none."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.sides.guard import FOLDS
from fewtune.sides.own import OwnTuner

MOST_REPEATS = 2  # of the folds that judge: each adds a little power, and as much time as the first
FEW_ROWS = 8  # that are looked at first: a step of more takes no less time
_FEW, _MORE = 1, 4  # steps that the speed is measured in
_LOOK = 0.1  # of the time, for the look at a few rows: a whole batch takes up to four times as long
_SPARE = 0.9  # of the time that is left: choices and the report need the rest


@final
@dataclass(frozen=True)
class Plan:
    """`repeats` of the folds (0: not run), `seconds` of one run, and the `minutes` that one pass of the folds takes."""

    repeats: int
    seconds: float

    @property
    def minutes(self) -> float:
        """That the fewest runs that tell anything need: one for each fold, and one on all labelled examples."""
        return (FOLDS + 1) * self.seconds / _SPARE / 60


def seconds_a_run(tuner: OwnTuner) -> float:
    """The time of one run, measured in a few steps; what all runs share is computed on the way."""
    rows = tuner.target.support
    steps, phases = max(1, tuner.steps), max(1, tuner.phases)
    tuner.of_steps(_FEW).made(rows)  # the first pass pays for what later ones share
    began = time.monotonic()
    tuner.of_steps(_FEW).made(rows)
    short = time.monotonic() - began
    began = time.monotonic()
    tuner.of_steps(_MORE).made(rows)
    each = max(time.monotonic() - began - short, 0.0) / ((_MORE - _FEW) * phases)  # every phase takes so many steps
    return short + each * max(steps - _FEW * phases, 0)


def planned(tuner: OwnTuner, seconds: float, repeats: int = 0, others: int = 0) -> Plan:
    """As many repeats of the folds as fit into `seconds`, beside a run on all labelled examples; or so many `repeats` as are asked for.

    `others`: methods that wait for the same time. Beyond the first repeat, each has an equal share of it. Where steps of a few rows alone
    would take too long, and the look at them was long, nothing more is measured: with long texts that could take more than all the time.
    """
    rows, batch = tuner.target.support, min(len(tuner.target.support), tuner.batch)
    if not repeats and batch > FEW_ROWS and not math.isinf(seconds):
        began = time.monotonic()
        few = seconds_a_run(tuner.of_rows(rows[np.linspace(0, len(rows) - 1, FEW_ROWS).astype(np.int64)]))
        if hopeless(few, time.monotonic() - began, seconds):
            return Plan(0, few * batch / FEW_ROWS)
    run = seconds_a_run(tuner)
    return Plan(repeats or max(min(1, repeats_within(seconds, run)), repeats_within(seconds / (1 + others), run)), run)


def hopeless(run: float, took: float, seconds: float) -> bool:
    """Whether runs of `run` seconds do not fit into so many `seconds`, and measuring that took so long that no more should be measured."""
    return took > _LOOK * seconds and not repeats_within(seconds, run)


def repeats_within(seconds: float, run: float) -> int:
    """How many repeats of the folds, 0 to 2, fit into so many seconds beside a run on all labelled examples."""
    if math.isinf(seconds):
        return MOST_REPEATS
    return min(MOST_REPEATS, max(0, math.floor((_SPARE * seconds / max(run, 1e-9) - 1) / FOLDS)))


def settings_within(seconds: float, run: float, makings: int, each: int, most: int) -> int:
    """Among how many settings, `most` at most, can be chosen in so many `seconds`, where one run takes `run` seconds, the side is made
    `makings` times (once for each fold that judges, and once from all labelled examples) and a setting takes `each` runs. 0 where not even
    two can be compared.
    """
    fits = [n for n in range(2, most + 1) if (makings + n * each) * run <= _SPARE * seconds]
    return max(fits, default=0)
