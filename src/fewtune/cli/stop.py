"""Stopping well: the first SIGTERM or Ctrl-C unwinds through every `finally`, a second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


class Stopped(BaseException):
    """Somebody asked the run to stop."""


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGINT into `Stopped` once; the next one exits the process with 128 + its number."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda again, _: os._exit(128 + again))
        raise Stopped(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
