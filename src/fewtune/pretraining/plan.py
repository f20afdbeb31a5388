"""What a run will do and how long it takes, before it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.budget import step_visits
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.learning.world import World
from fewtune.tasks.task import Tasks
from fewtune.words import counted, rounded

_TIMED = 2  # updates, after a first one that loads and traces


@final
@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run is: `steps` updates of `rows` rows each, and about how many `seconds` an update takes."""

    steps: int
    rows: int
    seconds: float

    def marks(self, count: int) -> tuple[int, ...]:
        """`count` steps on the way, evenly spaced, without the last one."""
        places = {round(self.steps * k / (count + 1)) for k in range(1, count + 1)}
        return tuple(sorted(places - {0, self.steps}))

    def sentence(self, total: int, marks: tuple[int, ...]) -> str:
        """The plan in words; `total` rows are learned from."""
        looked = self.steps * self.rows
        kept = f"; checkpoints after {', '.join(f'{m:,}' for m in marks)}" if marks else ""
        return (
            f"{counted(self.steps, 'update')} of {counted(self.rows, 'row')} each: {looked:,} rows in all, every row "
            f"{rounded(looked / total, 2)} times; about {_shown(self.steps * self.seconds)}{kept}."
        )


def steps_of_visits(visits: int, rows: int) -> int:
    """How many updates a budget of rows allows. Raises InputError where it is none."""
    if visits < rows:
        raise InputError(
            f"a budget of {visits:,} visits does not allow one update of {rows:,} rows: expected {rows:,} or more, or a smaller batch."
        )
    return visits // rows


def rows_of(phase: Phase, tasks: Tasks) -> int:
    """Rows that an update looks at."""
    return round(step_visits(phase, tasks))


def seconds_of(ground: Ground, phase: Phase, tasks: Tasks, world: World) -> float:
    """What an update takes, measured on a few whose result is thrown away; the mean over processes, so that all agree."""
    import torch

    took = 0.0
    for steps in (1, _TIMED):
        began = time.perf_counter()
        train(ground, (replace(phase, steps=steps, keep=phase.keep),), tasks, key(0, "timed"), world=world)
        took = (time.perf_counter() - began) / steps
    return float(world.sum(torch.tensor(took, dtype=torch.float64))) / world.size


def planned_again(fact: Mapping[str, Any]) -> Length:
    """The length that an interrupted run had."""
    return Length(steps=int(fact["steps"]), rows=int(fact["rows"]), seconds=float(fact["seconds"]))


def _shown(seconds: float) -> str:
    return "a second" if seconds < 1.5 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
