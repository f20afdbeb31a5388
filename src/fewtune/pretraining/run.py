"""The folder of a pretraining run: what it made is a backbone, `run:FOLDER`, and so is every checkpoint, `run:FOLDER,step=N`.

backbone/                   the packed backbone at the end
checkpoints/step-000100/    the packed backbone at a step
pretraining.json            settings, digests of the data, the curve, accuracies on the way
report.html                 the page
fewtune.json                the manifest

While the run goes on, all that is done is in FOLDER.partial, from where `resume` goes on; FOLDER appears whole, at the end.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.packed import pack
from fewtune.backbones.places import CHECKPOINTS, MADE, MADE_RECORD, PACKED_RECORD, checkpoint_folder, steps_in
from fewtune.errors import InputError
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import ANOTHER, RECORD, link, new_folder, read_json, read_record, recover, refuse_existing, sealed, write_bytes
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.world import ALONE, World
from fewtune.stopping import Stopped

KIND = "pretraining"
REPORT = "report.html"
_TRAINING = "training"


@final
class RunFolder:
    """A context manager around the work of a run. `identity`: a digest of all that the result depends on; only the same run is resumed.

    Raises InputError where `keeping.out` exists and is not to be replaced, or another unfinished run is kept beside it. Left by an error
    or by a stop, it keeps what was done; a run that is refused before anything was done leaves nothing.
    """

    def __init__(self, keeping: Keeping, identity: str, *, world: World = ALONE) -> None:
        assert keeping.out is not None
        self.out, self._keeping, self._identity, self._world = keeping.out, keeping, identity, world
        self.partial = Partial(self.out.resolve().with_name(f"{self.out.resolve().name}.partial"), writes=world.leads)

    def finished(self) -> dict[str, Any] | None:
        """The record of this very run where it is complete in the folder and `resume` is asked for; None where there is work to do."""
        recover(self.out.resolve())
        if not self._keeping.resume:
            return None
        try:
            record, whole = read_record(self.out)
        except (OSError, ValueError):
            return None
        if record.get("kind") != KIND or record.get("identity") != self._identity:
            return None
        if not whole:
            raise InputError(f"the run in {self.out} was changed after it was saved (its record differs): {ANOTHER}.")
        found = read_json(self.out / MADE_RECORD)
        return found if isinstance(found, dict) else None

    def __enter__(self) -> RunFolder:
        refuse_existing(self.out, overwrite=self._keeping.overwrite)
        self.partial.open(
            self._identity, resume=self._keeping.resume, overwrite=self._keeping.overwrite, wait=lambda: self._world.any(False)
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, InputError) and self.partial.empty:
            self.partial.discard()
        if isinstance(problem, Stopped) and not str(problem):
            raise Stopped("stopped; run the same command again with --resume to go on from there.") from None

    @property
    def checkpoints(self) -> Checkpoints:
        """Where the engine keeps its state, so that training goes on bit for bit."""
        return Checkpoints(self.partial.folder_of(_TRAINING), writes=self._world.leads, write=self.partial.write)

    @property
    def steps(self) -> list[int]:
        """The steps whose backbones are kept so far."""
        assert self.partial.folder is not None
        return steps_in(self.partial.folder)

    def keep_step(self, step: int, backbone: Backbone, written: Mapping[str, Tensor] | None = None) -> None:
        """Keep the backbone of a step, with the weights that it has now, beside what is done so far. `written`: see `pack`."""
        if not self._world.leads or step in self.steps:
            return
        assert self.partial.folder is not None
        here = checkpoint_folder(self.partial.folder, step)
        with tempfile.TemporaryDirectory() as scratch:
            pack(backbone, Path(scratch), moved=True, written=written)
            files = [file.relative_to(scratch) for file in Path(scratch).rglob("*") if file.is_file()]
            for file in sorted(files, key=lambda file: (file == Path(PACKED_RECORD), file)):  # the record comes last: it says it is whole
                self.partial.write(here / file, (Path(scratch) / file).read_bytes())

    def keep_fact(self, name: str, fact: object) -> None:
        """Keep something that was found out and must be the same when the run goes on; `fact(name)` reads it."""
        if self._world.leads:
            assert self.partial.folder is not None
            self.partial.write(self.partial.folder / f"{name}.json", json.dumps(fact).encode())

    def fact(self, name: str) -> Any:
        """What `keep_fact` kept, None where it kept nothing."""
        assert self.partial.folder is not None
        file = self.partial.folder / f"{name}.json"
        return read_json(file) if file.is_file() else None

    def finish(self, backbone: Backbone, record: Mapping[str, Any], page: str, written: Mapping[str, Tensor] | None = None) -> Path:
        """Write the finished run, whole or not at all, and return where it is. `record` is what `pretraining.json` says; `written`: see
        `pack`."""
        assert self.partial.folder is not None
        where = write_run(self._keeping, self._identity, backbone, record, page, steps_of=self.partial.folder, written=written)
        self.partial.discard()
        return where


def write_run(
    keeping: Keeping,
    identity: str,
    backbone: Backbone,
    record: Mapping[str, Any],
    page: str,
    *,
    steps_of: Path | None = None,
    written: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a run into `keeping.out`, whole or not at all, and return where it is; `steps_of`: the folder whose checkpoints come along."""
    assert keeping.out is not None
    steps = {} if steps_of is None else {step: checkpoint_folder(steps_of, step) for step in steps_in(steps_of)}
    with (made := new_folder(keeping.out, overwrite=keeping.overwrite)) as folder:
        (folder / MADE).mkdir()
        pack(backbone, folder / MADE, moved=True, written=written)
        for step, kept in steps.items():
            place = checkpoint_folder(folder, step)
            for file in (file.relative_to(kept) for file in kept.rglob("*") if file.is_file()):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                link(kept / file, place / file)
        write_bytes(folder / MADE_RECORD, json.dumps(record, indent=1, allow_nan=False).encode())
        write_bytes(folder / REPORT, page.encode("utf-8", "replace"))
        write_bytes(folder / RECORD, sealed({"kind": KIND, "format": 1, "identity": identity}))
    return made.where


__all__ = ["CHECKPOINTS", "KIND", "REPORT", "RunFolder", "write_run"]
