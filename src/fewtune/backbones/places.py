"""Where the folders and files of backbones are on this machine. Kept for its user alone: models are passed on, and paths contain names."""

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


@final
@dataclass(frozen=True)
class Place:
    """Absolute paths: the `folder` of a model that is named by one, and the `weights` that were given beside the name; None for none."""

    folder: Path | None = None
    weights: Path | None = None


NOWHERE = Place()


def remember(digest: str, place: Place) -> None:
    """Keep the place of the backbone with this digest. Where nothing can be written, nothing is kept."""
    if place == NOWHERE:
        return
    said = {name: None if path is None else str(path) for name, path in (("folder", place.folder), ("weights", place.weights))}
    with contextlib.suppress(OSError, InputError):
        write_bytes(_file(digest), json.dumps(said).encode())


def remembered(digest: str) -> Place:
    """The place that was kept for this digest, or an empty one."""
    try:
        said = json.loads(read_regular(_file(digest), most=_LONGEST))
        folder, weights = said["folder"], said["weights"]
        return Place(None if folder is None else Path(folder), None if weights is None else Path(weights))
    except (OSError, ValueError, LookupError, TypeError, InputError):
        return NOWHERE


def _file(digest: str) -> Path:
    if not re.fullmatch("[0-9a-f]{1,64}", digest):  # it comes from a model that somebody may have made up
        raise ValueError(f"{digest!r} is no digest")
    folder = places_folder()
    if folder is None:
        raise FileNotFoundError("a user without a home has no cache")
    return folder / f"{digest}.json"
