"""Progress on standard error: a bar with rate and time left on a terminal, one plain line every ten seconds otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, final

from fewtune.words import one_line

_EVERY = 10.0  # seconds between plain lines: cluster logs are read by people


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
        elif not self.quiet and time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
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
