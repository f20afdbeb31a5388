"""Stopping well: the first SIGTERM or Ctrl-C unwinds through every `finally` (training finishes its step), a second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

from fewtune.stopping import Stopped, ask_to_stop

__all__ = ["Stopped", "stop_on_signals"]


def stop_on_signals() -> None:
    """Ask the run to stop at the first SIGTERM or SIGINT (see fewtune.stopping); the next one exits the process with 128 + its number.

    A signal that was ignored when we started (nohup, a shell's background job) stays ignored.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, _end)
        ask_to_stop()

    heard = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) != signal.SIG_IGN]
    for each in heard:
        signal.signal(each, stop)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
