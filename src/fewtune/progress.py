"""Progress on standard error: a bar with rate and time left on a terminal, one plain line every four seconds otherwise; and what is going
on while nothing can be counted."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, final

from fewtune.words import one_line

EVERY = 4.0  # seconds between plain lines: at most five pass without a word
SOON = 0.5  # seconds after which it is said what is going on


@final
@dataclass
class _Now:
    """What is going on: the `stage`, since when, when something was last said, and how many bars are shown."""

    stage: str = ""
    since: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    bars: int = 0


_NOW = _Now()


def saying() -> None:
    """Note that something is being said, so that `waiting` need not."""
    _NOW.said = time.monotonic()


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """A block that does what `name` says; within `waiting`, it is said if the block takes long."""
    before, since = _NOW.stage, _NOW.since
    _NOW.stage, _NOW.since = one_line(name), time.monotonic()
    try:
        yield
    finally:
        _NOW.stage, _NOW.since = before, since


@contextlib.contextmanager
def waiting(name: str, *, quiet: bool = False) -> Iterator[None]:
    """Within this block, what is going on is said on standard error: soon, then every four seconds without another word.

    Bars and lines of `Progress` count as words, and so does everything that calls `saying`. `quiet`: nothing is said.
    """
    over = threading.Event()
    saying()
    speaker = threading.Thread(target=_speak, args=(over,), daemon=True)
    with stage(name):
        if not quiet:
            speaker.start()
        try:
            yield
        finally:
            over.set()
            if not quiet:
                speaker.join(EVERY)


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Within this block nothing is being done that somebody waits for, such as a server between two requests: `waiting` says nothing."""
    _NOW.bars += 1
    try:
        yield
    finally:
        saying()
        _NOW.bars -= 1


def _speak(over: threading.Event) -> None:
    told = ""
    while not over.wait(SOON / 4):
        now, name = time.monotonic(), _NOW.stage
        if _NOW.bars or now - _NOW.said < (SOON if name != told else EVERY):
            continue
        seconds = now - _NOW.since
        saying()
        with contextlib.suppress(OSError, ValueError):  # standard error may be closed
            print(f"{name}{f' ({seconds:.0f} s so far)' if name == told else ' ...'}", file=sys.stderr, flush=True)
        told = name


@final
class Progress:
    """Counts `total` steps of a job called `label`; standard output is never touched. A context manager."""

    def __init__(self, total: int, label: str, *, done: int = 0, quiet: bool = False) -> None:
        self.total, self.label, self.done, self.quiet = total, one_line(label), done, quiet
        self._first, self._began, self._said = done, time.monotonic(), time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and self.total > self.done and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
            self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, rate="")
            self._bar.start()
            _NOW.bars += 1
        return self

    def skip(self, steps: int) -> None:
        """Say that `steps` were done before; they do not count in the rate."""
        self._first += steps
        self.done += steps
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)

    def advance(self, steps: int, said: str = "") -> None:
        """Show that `steps` more are done; `said`: a remark to show beside."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{self._rate()} {said}".rstrip())
        elif not self.quiet and time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            saying()
            left = (self.total - self.done) * (time.monotonic() - self._began) / max(self.done - self._first, 1)
            print(
                f"{self.label}: {self.done:,} of {self.total:,}, {self._rate()}, {left:.0f} s left{said and f', {said}'}",
                file=sys.stderr,
                flush=True,
            )

    def _rate(self) -> str:
        rate = (self.done - self._first) / max(time.monotonic() - self._began, 1e-9)
        return f"{rate:,.0f}/s" if rate >= 1.95 else f"{rate:.1f}/s"

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
            _NOW.bars -= 1
            saying()
