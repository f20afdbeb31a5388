"""Files that arrive in a folder: each is given once it is complete."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from fewtune.data.examples import Skipped
from fewtune.data.items import Modality
from fewtune.data.reading.order import IMAGE_SUFFIXES, TEXT_SUFFIXES
from fewtune.data.reading.walk import walk

_KINDS = {"image": IMAGE_SUFFIXES, "text": TEXT_SUFFIXES}
Look = tuple[int, int, int]  # size, time of the last change, inode


@final
@dataclass(frozen=True, eq=False)
class Arriving:
    """A folder that fills, with all its subfolders. `seen`: files that were given, with how they looked then; a file that is written again
    is given again. `waiting`: files that are not known to be complete, with how they looked last."""

    folder: Path
    modality: Modality
    seen: dict[Path, Look] = field(default_factory=dict)
    waiting: dict[Path, Look] = field(default_factory=dict)

    def complete(self) -> list[Path]:
        """New files of the model's kind, in natural order, that look as they did at the last call: size and time of change are the same,
        and they are not empty. Call it at intervals of the time within which a program that writes a file writes some more of it."""
        ready, now = list[Path](), dict[Path, Look]()
        skipped: list[Skipped] = []
        for path in walk(self.folder, skipped):
            if path.suffix.lower() not in _KINDS.get(self.modality, frozenset()):
                continue
            look = _look(path)
            if look is None or self.seen.get(path) == look:
                continue
            if look[0] and self.waiting.get(path) == look:
                self.seen[path] = look
                ready.append(path)
            else:
                now[path] = look
        self.waiting.clear()
        self.waiting.update(now)
        return ready


def _look(path: Path) -> Look | None:
    """How a file looks now; None where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
