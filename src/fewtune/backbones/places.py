"""Where the folders and files of backbones are on this machine. Models are given to others and paths can contain names of people, so the
paths are kept only in the cache of this user."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.backbones.features.cache import places_folder
from fewtune.errors import InputError
from fewtune.files import read_regular, write_bytes

_LONGEST = 1 << 16  # bytes
PACKED_RECORD = "backbone.json"  # of a packed backbone


@final
@dataclass(frozen=True)
class Place:
    """Absolute paths, or None: the `folder` of a model from a local folder, and the `weights` that were given with the name."""

    folder: Path | None = None
    weights: Path | None = None


NOWHERE = Place()


def is_packed(folder: Path | None) -> bool:
    """Whether a folder holds a packed backbone."""
    return folder is not None and (folder / PACKED_RECORD).is_file()


def remember(digest: str, place: Place) -> None:
    """Keep the place of the backbone with this digest. Does nothing if the cache is not writable."""
    if place == NOWHERE:
        return
    said = {name: None if path is None else str(path) for name, path in (("folder", place.folder), ("weights", place.weights))}
    with contextlib.suppress(OSError, InputError):
        write_bytes(_file(digest), json.dumps(said).encode())


def remembered(digest: str) -> Place:
    """The place kept for this digest, or an empty one."""
    try:
        said = json.loads(read_regular(_file(digest), most=_LONGEST))
        folder, weights = said["folder"], said["weights"]
        return Place(None if folder is None else Path(folder), None if weights is None else Path(weights))
    except (OSError, ValueError, LookupError, TypeError, InputError):
        return NOWHERE


def _file(digest: str) -> Path:
    if not re.fullmatch("[0-9a-f]{1,64}", digest):  # it comes from a file, which may be hostile
        raise ValueError(f"{digest!r} is not a digest")
    folder = places_folder()
    if folder is None:
        raise FileNotFoundError("a user without a home has no cache")
    return folder / f"{digest}.json"
