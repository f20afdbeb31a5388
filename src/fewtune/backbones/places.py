"""Where the folders and files of backbones are on this machine. Models are given to others and paths can contain names of people, so the
paths are kept only in the cache of this user."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from fewtune.backbones.features.cache import places_folder
from fewtune.errors import InputError
from fewtune.files import expanded, read_regular, write_bytes

_LONGEST = 1 << 16  # bytes
PACKED_RECORD = "backbone.json"  # of a packed backbone
MADE = "backbone"  # the packed backbone that a pretraining run made, inside its folder
MADE_RECORD = "pretraining.json"  # of such a run
RUN = "run:"  # the first part of the name of a backbone that a run made
CHECKPOINTS = "checkpoints"  # the packed backbones that it kept on the way
_STEP_NAME = re.compile(r"step-(\d+)")


@final
@dataclass(frozen=True)
class Place:
    """Absolute paths, or None: the `folder` of a model from a local folder, and the `weights` that were given with the name.

    `towers`: the places of the two models of a pair, if one of them is known.
    """

    folder: Path | None = None
    weights: Path | None = None
    towers: tuple[Place, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All paths, those of towers too."""
        return (*(p for p in (self.folder, self.weights) if p is not None), *(p for tower in self.towers for p in tower.paths))


NOWHERE = Place()


def is_packed(folder: Path | None) -> bool:
    """Whether a folder holds a packed backbone."""
    return folder is not None and (folder / PACKED_RECORD).is_file()


def run_and_step(name: str) -> tuple[Path, int | None] | None:
    """(FOLDER, None) of `run:FOLDER` and (FOLDER, N) of `run:FOLDER,step=N`; None for other names. Raises InputError if the name lacks the
    folder or N is not a whole number."""
    if not name.startswith(RUN):
        return None
    folder, comma, step = name.removeprefix(RUN).partition(",step=")
    if not folder:
        raise InputError("run: lacks the folder of a saved model or of a pretraining run: expected run:FOLDER.")
    if comma and not step.isdecimal():
        raise InputError(f"{name}: expected the number of a step after step=, found {step!r}.")
    return expanded(folder), int(step) if comma else None


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where a pretraining run keeps the backbone of a step."""
    return run / CHECKPOINTS / f"step-{step:06d}"


def steps_in(run: Path) -> list[int]:
    """The steps whose checkpoints a pretraining run holds, in order; none in another folder."""
    folder = run / CHECKPOINTS
    names = [_STEP_NAME.fullmatch(place.name) for place in folder.iterdir() if is_packed(place)] if folder.is_dir() else []
    return sorted(int(name[1]) for name in names if name is not None)


def made_in(run: Path, step: int | None = None) -> Path | None:
    """The packed backbone that a pretraining run made, or its checkpoint of a step; None for the folder of a saved model.

    Raises InputError for a step that the run did not keep, and for an unfinished run without a step.
    """
    steps = steps_in(run)
    if step is not None:
        if not run.is_dir():
            raise InputError(f"{run} does not exist: expected the folder of a pretraining run.")
        if step not in steps:
            kept = f"it has the steps {', '.join(map(str, steps))}" if steps else "it has none"
            raise InputError(f"{run} keeps no checkpoint of step {step}: {kept}.")
        return checkpoint_folder(run, step)
    if (run / MADE_RECORD).is_file() and is_packed(run / MADE):
        return run / MADE
    if steps:
        raise InputError(f"the pretraining run in {run} is not finished: name one of its checkpoints, such as run:FOLDER,step={steps[-1]}.")
    return None


def remember(digest: str, place: Place) -> None:
    """Keep the place of the backbone with this digest. Does nothing if the cache is not writable."""
    if place == NOWHERE:
        return
    said = {**_said(place), "towers": [_said(tower) for tower in place.towers]}
    with contextlib.suppress(OSError, InputError):
        write_bytes(_file(digest), json.dumps(said).encode())


def remembered(digest: str) -> Place:
    """The place kept for this digest, or an empty one."""
    try:
        said = json.loads(read_regular(_file(digest), most=_LONGEST))
        return replace(_read(said), towers=tuple(_read(tower) for tower in said.get("towers", [])))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError):
        return NOWHERE


def _said(place: Place) -> dict[str, Any]:
    return {name: None if path is None else str(path) for name, path in (("folder", place.folder), ("weights", place.weights))}


def _read(said: dict[str, Any]) -> Place:
    folder, weights = said["folder"], said["weights"]
    return Place(None if folder is None else Path(folder), None if weights is None else Path(weights))


def _file(digest: str) -> Path:
    if not re.fullmatch("[0-9a-f]{1,64}", digest):  # it comes from a file, which may be hostile
        raise ValueError(f"{digest!r} is not a digest")
    folder = places_folder()
    if folder is None:
        raise FileNotFoundError("a user without a home has no cache")
    return folder / f"{digest}.json"
