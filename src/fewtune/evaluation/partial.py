"""What is done of a run that is not: kept beside --out, so that the same run goes on from there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from fewtune.errors import InputError
from fewtune.evaluation.cells import CellValue, decoded, encoded
from fewtune.files import (
    ANOTHER,
    GROWS,
    RECORD,
    entries,
    foreign,
    grow,
    is_ours,
    new_folder,
    read_record,
    remove,
    sealed,
    write_bytes,
    written,
)
from fewtune.words import option

KIND = "unfinished run"


@final
class Partial:
    """The folder of an unfinished run; with None nothing is kept. Pieces are filed by digests of all that they depend on.

    `trained`: where training runs are kept instead, to be shared by several studies; it is never discarded. `resumes`: whether training
    keeps checkpoints to go on from. `reset`: what is in `trained` from before is not used, and is replaced.
    """

    def __init__(
        self, folder: Path | None = None, trained: Path | None = None, *, writes: bool = True, resumes: bool = True, reset: bool = False
    ) -> None:
        self._renewed: set[str] | None = set() if reset else None  # the pieces that were made anew, where all are
        self.folder, self._writes = folder, writes
        self._trained = trained or (folder / "trained" if folder is not None and resumes else None)

    @property
    def begun(self) -> str | None:
        """The digest of the study whose run is kept here, None where there is none."""
        if self.folder is None or written(self.folder) is None:
            return None
        record, _ = read_record(self.folder)
        return str(record.get("study")) if record.get("kind") == KIND else None

    def begin(self, study: str, prepare: Callable[[Path], None] = lambda _: None) -> None:
        """Make the folder, which appears whole, for the study of this digest; `prepare` writes what it begins with."""
        if self.folder is not None and self._writes:
            with new_folder(self.folder, elsewhere=False) as folder:
                prepare(folder)
                write_bytes(folder / RECORD, sealed({"kind": KIND, "study": study, GROWS: True}))

    def open(self, wanted: str, *, resume: bool, overwrite: bool, wait: Callable[[], object] = lambda: None) -> None:
        """Make the folder for the study of the digest `wanted`, or with `resume` go on with what is there.

        `wait` returns once all processes of the run have looked at the folder, before one of them writes. Raises InputError where another
        run is kept there, an unfinished one that is neither resumed nor overwritten, or files that fewtune did not write.
        """
        folder, begun = self.folder, self.begun
        assert folder is not None
        if begun is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is in the way, and was not written by fewtune: {ANOTHER}.")
        if begun is not None and resume and begun != wanted:
            raise InputError(
                f"{folder} holds another unfinished run: give the command it was started with, or start again with {option('--overwrite')}."
            )
        if begun is not None and not resume and not overwrite:
            again = f"pass {option('--resume')} to continue it, or {option('--overwrite')} to start again"
            raise InputError(f"an unfinished run is kept in {folder}: {again}.")
        if not resume and (strange := foreign(folder)):
            raise InputError(f"{folder / strange[0]} was not written by fewtune: move it away, or {ANOTHER}.")
        wait()
        if not resume:
            self.discard()
        if begun is None or not resume:
            self.begin(wanted)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that is part of the run, here or where training runs are kept."""
        if self.folder is not None and path.is_relative_to(self.folder):
            grow(self.folder, path, content)
        else:
            write_bytes(path, content)

    def folder_of(self, identity: str) -> Path | None:
        """Where the training run of this identity keeps its checkpoints."""
        if self._trained is None:
            return None
        folder = self._trained / identity
        if self._outdated(identity) and self._writes:
            for checkpoint in folder.glob("phase-*.safetensors"):
                checkpoint.unlink(missing_ok=True)
        return folder

    def cell(self, key: str) -> CellValue | None:
        """The value of a cell that is known already."""
        path = self._path("cells", key, "npz")
        return decoded(path.read_bytes(), path) if path is not None and path.exists() else None

    def has_cell(self, key: str) -> bool:
        """Whether the value of a cell is known."""
        path = self._path("cells", key, "npz")
        return path is not None and path.exists()

    def keep_cell(self, key: str, value: CellValue) -> None:
        path = self._path("cells", key, "npz")
        if path is not None and self._writes:
            self.write(path, encoded(value))

    def number(self, identity: str, compute: Callable[[], float]) -> float:
        """A number that is computed once."""
        path = None if self._trained is None else self._trained / "validation" / f"{identity}.json"
        if path is not None and not self._outdated(f"number {identity}") and path.exists():
            try:
                return float(json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError) as problem:
                raise InputError(f"{path} is damaged ({problem}): remove it to compute it again.") from None
        found = compute()
        if path is not None and self._writes:
            self.write(path, json.dumps(found).encode())
        return found

    def keep_model(self, name: str, seed: int, moved: Mapping[str, Tensor], curve: list[dict[str, Any]]) -> None:
        """The weights that training moved, and its curve."""
        if self.folder is None or not self._writes:
            return
        from safetensors.torch import save

        stem = f"{slug(name)}-seed{seed}"
        self.write(self.folder / "weights" / f"{stem}.safetensors", save({n: t.cpu().contiguous() for n, t in moved.items()}))
        lines = "".join(json.dumps(row) + "\n" for row in curve)
        self.write(self.folder / "curves" / f"{stem}.jsonl", lines.encode())

    def forget_models(self) -> None:
        """Remove the checkpoints of training runs that are over, where this folder keeps them; what was measured stays."""
        if self.folder is None or not self._writes or self._trained is None or not self._trained.is_relative_to(self.folder):
            return
        listed = written(self.folder) or {}
        for checkpoint in sorted(self._trained.glob("*/*.safetensors")):
            if is_ours(self.folder, checkpoint.relative_to(self.folder).as_posix(), listed):
                checkpoint.unlink(missing_ok=True)

    @property
    def empty(self) -> bool:
        """Whether the folder holds nothing yet but what says which run it is of."""
        return self.folder is not None and self.folder.is_dir() and not [name for name in entries(self.folder) if name != RECORD]

    def discard(self) -> None:
        """Nothing of it is needed any more: what fewtune wrote is removed."""
        if self.folder is not None and self._writes:
            remove(self.folder)

    def _outdated(self, piece: str) -> bool:
        """Whether a piece was kept before this run, and is to be made anew: true once."""
        if self._renewed is None or piece in self._renewed:
            return False
        self._renewed.add(piece)
        return True

    def _path(self, part: str, identity: str, ending: str) -> Path | None:
        return None if self.folder is None else self.folder / part / f"{identity}.{ending}"


def copy_models(source: Path | None, folder: Path) -> None:
    """Copy the trained weights and curves that lie in `source` into the folder of a complete run."""
    for part in ("weights", "curves"):
        if source is not None and (source / part).is_dir():
            shutil.copytree(source / part, folder / part)


def slug(name: str) -> str:
    """A method's text as part of a file name; texts that differ in punctuation alone stay apart by their length and hash."""
    from fewtune.spec import digest

    plain = re.sub(r"[^A-Za-z0-9.=_-]+", "-", name).strip("-")
    return plain if plain == name else f"{plain[:60]}-{digest(name)[:6]}"


NOTHING = Partial()
