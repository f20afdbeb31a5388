"""Clock: a budget of minutes, and what it went on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from fewtune import progress
from fewtune.words import option


def budget_asked(minutes: float) -> str:
    """How a budget of so many minutes is asked for."""
    return option(f"--budget minutes={minutes:.0f}", f"AdaptSettings(minutes={minutes:.0f})")


@final
@dataclass(frozen=True)
class Turn:
    """When a part of the work comes: at once, or after another one, which may take a share `before` of the time from `began` seconds on."""

    before: float = 0.0
    began: float = 0.0

    def enough(self, spent: float, seconds: float) -> float:
        """The seconds of a budget that leave `seconds` for this part, where `spent` seconds are gone now."""
        return max(spent + seconds, self.began + seconds / (1 - self.before))


AT_ONCE = Turn()


@final
@dataclass
class Stage:
    """A part of the job: seconds, and the rows that were looked at in training."""

    name: str
    seconds: float = 0.0
    visits: int = 0
    note: str = ""


@final
@dataclass
class Clock:
    """`minutes` from now on; math.inf where there is no such budget. `wanted`: the minutes that would be enough for what was left out."""

    minutes: float
    wanted: float = 0.0
    stages: list[Stage] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def ask(self, minutes: float) -> str:
        """How a budget that is enough is asked for, in words; it is remembered."""
        self.wanted = max(self.wanted, minutes)
        return budget_asked(minutes)

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, 60 * self.minutes - self.spent)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A block whose time is on record under a name; blocks do not nest."""
        stage = Stage(name)
        began = time.monotonic()
        try:
            with progress.stage(name):
                yield stage
        finally:
            stage.seconds = time.monotonic() - began
            self.stages.append(stage)
