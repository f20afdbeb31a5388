"""Job: what every part of one piece of work is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.sides.clock import Clock
from fewtune.sides.progress import NOTHING, Finished


@final
@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where the work is done. Nothing here changes what comes of it.

    `cache`: the folder where features are kept (None: the user's). `quiet`: no progress on the terminal. `say`: is called with what is
    about to be done and how long it takes. `finished`: where finished parts of the work are kept, and found when it is resumed.
    """

    cache: Path | None = None
    quiet: bool = False
    say: Callable[[str], None] = lambda _: None
    finished: Finished = NOTHING


HERE = Workplace()


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """`clock`: the time that is left, and what it was spent on. `at`: where the work is done. `skip_bad`: leave out what cannot be read.
    `seed`: of everything that is drawn.
    """

    clock: Clock
    at: Workplace = HERE
    skip_bad: bool = False
    seed: int = 0
