"""Where the backbone of a saved model lies on this machine. Nothing slow is imported, so that a command can say what is missing at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.backbones.places import PACKED_RECORD, Place, is_packed, remembered
from fewtune.errors import InputError
from fewtune.files import read_record
from fewtune.models.record import check_is_model
from fewtune.words import one_line, option

WEIGHTS_FLAG = option("--weights", "weights=...")
PACKED = "backbone"  # the folder of a packed backbone


@final
@dataclass(frozen=True)
class Local:
    """What a saved model says of where its backbone was read from: its `name` and `digest`; whether it was a local `folder`; and the name
    of the file of `weights` that was given with the name, None without one."""

    name: str
    digest: str
    folder: bool = False
    weights: str | None = None


def found(local: Local, given: Path | None) -> Place:
    """Where the backbone's folder and weights are. Raises InputError where something that lay on a disk is not known or gone."""
    if given is not None and not given.exists():
        raise InputError(f"the backbone's weights are not at {given}: say where they are now with {WEIGHTS_FLAG}.")
    for folder in () if given is None else (given, given / PACKED):
        if is_packed(folder):
            return Place(folder)
    if not local.folder and local.weights is None:
        return Place(None, given)
    known = remembered(local.digest)
    if given is not None:
        return _meant(local, given, known)
    if known.towers:
        if lost := next((path for path in known.paths if not path.exists()), None):
            raise InputError(
                f"{lost}, from which a tower of {one_line(local.name)} was read, is gone: put it back, or give a packed copy of the pair "
                f"with {option('--weights FOLDER', 'weights=...')}."
            )
        return known
    for path, needed, kind in ((known.folder, local.folder, "folder"), (known.weights, local.weights is not None, "file")):
        if needed and path is None:
            name = one_line(local.name if local.folder else f"{local.name} with {local.weights}")
            raise InputError(
                f"the backbone of this model, {name}, was read from a local {kind} that is not known on this machine: say where it is now "
                f"with {option(f'--weights {kind.upper()}', 'weights=...')}."
            )
        if needed and path is not None and not path.exists():
            raise InputError(f"the backbone's weights are not at {path}: say where they are now with {WEIGHTS_FLAG}.")
    return known


def _meant(local: Local, given: Path, known: Place) -> Place:
    """What a person who gives a file or folder for a backbone means by it."""
    if not local.folder:
        return Place(None, given)
    if given.is_dir() and any(given.glob("*config.json")):
        beside = given / Path(local.weights or "").name
        return Place(given, None if local.weights is None else beside if beside.exists() else given)
    return Place(known.folder if known.folder is not None and known.folder.exists() else given.parent, given)


def check_found(run: Path, given: Path | None) -> None:
    """Raise InputError where a folder is no saved model, or its backbone was read from a local file or folder that is not known or gone.

    `given`: what `--weights` says. A record that cannot be read is left to those who load the model, who say what is wrong with it.
    """
    check_is_model(run)
    try:
        record = read_record(run)[0]
    except (OSError, ValueError, InputError):
        return
    backbone, files = record.get("backbone"), record.get("files")
    if not isinstance(backbone, Mapping) or (given is None and packed_folder(run, files if isinstance(files, Mapping) else {}) is not None):
        return
    name, digest, folder, weights = (backbone.get(key) for key in ("name", "digest", "folder", "weights"))
    if isinstance(name, str) and isinstance(digest, str) and isinstance(weights, str | None):
        found(Local(name, digest, folder=folder is True, weights=weights), given)


def packed_folder(path: Path, files: Mapping[str, object]) -> Path | None:
    """The folder of the packed backbone of a saved model; None where it has none."""
    return path.resolve() / PACKED if f"{PACKED}/{PACKED_RECORD}" in files and (path / PACKED).is_dir() else None
