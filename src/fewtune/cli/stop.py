"""Stopping well: the first SIGTERM or Ctrl-C unwinds through every `finally`, a second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


class Stopped(BaseException):
    """Somebody asked the run to stop."""


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGINT into `Stopped` once; the next one exits the process with 128 + its number.

    A signal that was ignored when we started (nohup, a shell's background job) stays ignored.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in heard:
            signal.signal(each, _end)
        raise Stopped(number)

    heard = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) != signal.SIG_IGN]
    for each in heard:
        signal.signal(each, stop)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
