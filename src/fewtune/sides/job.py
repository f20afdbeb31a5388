"""Job: what every part of one piece of work is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.sides.clock import Clock
from fewtune.sides.progress import NOTHING, Finished


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """`clock`: the time that is left, and what it was spent on. `cache`: the folder where features are kept (None: the user's). `skip_bad`:
    leave out what cannot be read. `seed`: of everything that is drawn. `quiet`: no progress on the terminal. `finished`: what an
    earlier run of the same work has finished already.
    """

    clock: Clock
    cache: Path | None = None
    skip_bad: bool = False
    seed: int = 0
    quiet: bool = False
    finished: Finished = NOTHING
