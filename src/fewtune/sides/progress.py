"""What was finished of a long comparison, so that a stopped one can go on: a folder with one small file for each fold."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.files import write_bytes
from fewtune.spec import digest

MARK = "fewtune-progress"  # a file that says the folder is ours


@final
@dataclass(frozen=True)
class Finished:
    """Answers by the digest of all that they depend on (`what`). `folder` of None keeps nothing."""

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
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path.parent / MARK, b"answers of an unfinished `fewtune adapt`, for --resume\n")
            write_bytes(path, safetensors.torch.save({"answer": answer.contiguous()}))

    def clear(self) -> None:
        """Remove what was kept, and the folder unless something else is in it."""
        if self.folder is None or not (self.folder / MARK).is_file():
            return
        for path in (*self.folder.glob("*.safetensors"), self.folder / MARK):
            path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _path(self, what: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{digest(what)}.safetensors"


NOTHING = Finished()
