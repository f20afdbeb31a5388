"""What was finished of a long job, so that a stopped one can go on: a folder with a file for each answered fold, each number that the
clock decided, and each training run on other data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.files import write_bytes
from fewtune.learning.checkpoints import Checkpoints
from fewtune.spec import digest

MARK = "fewtune-progress"  # a file that says the folder is ours


@final
@dataclass(frozen=True)
class Finished:
    """Answers, numbers and training runs by the digest of all that they depend on (`what`). `folder` of None keeps nothing."""

    folder: Path | None = None

    def find(self, what: str) -> Tensor | None:
        """The answer that was kept under these words; None where there is none, or where its file is damaged."""
        path = self._path(what)
        if path is None or not path.is_file():
            return None
        try:
            return safetensors.torch.load_file(path)["answer"]
        except (OSError, LookupError, safetensors.SafetensorError):
            return None

    def check(self) -> None:
        """Raise InputError where the folder is somebody else's."""
        if self.folder is not None and self.folder.exists() and not (self.folder / MARK).is_file():
            raise InputError(
                f"{self.folder} is where unfinished work is kept, but fewtune did not make it: move it, or give another --out."
            )

    def keep(self, what: str, answer: Tensor) -> None:
        """Keep an answer."""
        path = self._path(what)
        if path is not None:
            self._write(path, safetensors.torch.save({"answer": answer.contiguous()}))

    def once(self, what: str, measured: Callable[[], Sequence[float]], *, worth: Callable[[float], bool] = bool) -> tuple[float, ...]:
        """Numbers that depend on the clock: those that a stopped run went by, else what `measured` finds now.

        They are kept if the first one is `worth` it, by default if it is not zero: where the time was too short, there may be more later.
        """
        found = self.find(what)
        if found is None:
            found = torch.tensor(list(measured()), dtype=torch.float64)
            if worth(float(found[0])):
                self.keep(what, found)
        return tuple(found.tolist())

    def run(self, what: str) -> Checkpoints:
        """Where a training run is kept on the way and at its end."""
        path = self._path(what)
        return Checkpoints(None if path is None else path.with_suffix(""), write=self._write)

    def clear(self) -> None:
        """Remove what was kept, and the folder unless something else is in it."""
        if self.folder is None or not (self.folder / MARK).is_file():
            return
        for path in (*self.folder.glob("*.safetensors"), *self.folder.glob("*/phase-*.safetensors"), self.folder / MARK):
            path.unlink()
        with contextlib.suppress(OSError):
            for path in (*(path for path in self.folder.iterdir() if path.is_dir()), self.folder):
                path.rmdir()

    def _write(self, path: Path, content: bytes) -> None:
        assert self.folder is not None
        write_bytes(self.folder / MARK, b"what is finished of a `fewtune adapt`, for --resume\n")
        write_bytes(path, content)

    def _path(self, what: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{digest(what)}.safetensors"


NOTHING = Finished()
