"""Jobs in a folder that several processes share: claimed by renaming a file, held by touching it, taken over from the dead.

`todo/NAME` waits; `leases/NAME~WORKER` is at work. Renaming is atomic, so one process gets a job. The worker touches its lease again and
again; a lease that was not touched for long is that of a dead worker, and another one renames it to its own. A worker that was only slow
may then do a job twice, so a job must give the same result every time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import final

TODO, LEASES = "todo", "leases"
BEATS = 4  # touches of a lease in the time after which it is dead


def shared_folder(out: Path) -> Path:
    """Where the workers of a study that will be in `out` meet."""
    return out.resolve().with_name(f"{out.resolve().name}.partial")


@final
class Leases:
    """The jobs of a folder, for one worker. `seconds`: how long after its last touch a lease is dead."""

    def __init__(self, folder: Path, seconds: float = 60.0) -> None:
        self._todo, self._leases, self._seconds = folder / TODO, folder / LEASES, seconds
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """A block that holds a job, if it could be claimed: the value says so. Afterwards it is done, or waits again after an error."""
        lease = self._claim(name)
        if lease is None:
            yield False
            return
        ended = threading.Event()
        beating = threading.Thread(target=self._beat, args=(lease, ended), daemon=True)
        beating.start()
        try:
            yield True
        except BaseException:
            _end(beating, ended)
            with contextlib.suppress(OSError):  # it stays a lease then, which is soon that of a dead worker
                lease.rename(self._todo / name)
            raise
        _end(beating, ended)
        lease.unlink(missing_ok=True)

    def _claim(self, name: str) -> Path | None:
        mine = self._leases / f"{name}~{self.worker}"
        for place in (self._todo / name, *self._dead(name)):
            try:
                place.rename(mine)
                os.utime(mine)
            except FileNotFoundError:  # another worker was faster
                continue
            return mine
        return None

    def _dead(self, name: str) -> list[Path]:
        """The leases of a job that nobody touched for long, by the clock of the folder's machine."""
        found = [path for path in self._leases.iterdir() if path.name.partition("~")[0] == name]
        if not found:
            return []
        now = self._now()
        dead = []
        for path in found:
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > self._seconds:
                    dead.append(path)
        return dead

    def _now(self) -> float:
        clock = self._leases / f".clock~{self.worker}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
        return now

    def _beat(self, lease: Path, ended: threading.Event) -> None:
        while not ended.wait(self._seconds / BEATS):
            try:
                os.utime(lease)
            except FileNotFoundError:  # taken over: what is made is the same
                return
            except OSError:
                continue


def _end(beating: threading.Thread, ended: threading.Event) -> None:
    ended.set()
    beating.join()
