"""Digests of weights that did not change since they were last read: computing them again would take a second for each gigabyte.

The sha256 of a file is kept in this user's cache, with the file's path, size, times of change and inode; where one of them differs, it is
computed again. The digest of a backbone is kept by the sha256 of its files and everything else that it depends on. A cache that cannot be
read or written is no error: then both are computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.backbones.features.cache import beside_tables
from fewtune.errors import InputError
from fewtune.files import read_regular, sha256, write_bytes

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone

_LONGEST = 1 << 16  # bytes
_SETTLED = 2.0  # seconds: a file that changed later than this may change again without a new time
_LIBRARIES = ("fewtune", "torch", "timm", "transformers", "open_clip_torch")


def known_sha256(file: Path) -> str:
    """The sha256 of a plain file, remembered while the file does not change. Raises what `files.sha256` raises."""
    path = file.resolve()
    name = hashlib.sha256(os.fsencode(path)).hexdigest()
    before = _state(path)
    known = _recalled(name)
    if known.get("state") == before and _is_hex(known.get("sha256"), 64):
        return str(known["sha256"])
    found = sha256(path)
    if _state(path) == before and path.stat().st_mtime < time.time() - _SETTLED:
        _keep(name, {"path": str(path), "state": before, "sha256": found})
    return found


def known_digest(backbone: Backbone, files: Sequence[Path]) -> str:
    """The digest of a backbone that was just read from `files` (see `Backbone.digest`), remembered while they do not change.

    Without files, for instance of a backbone from a hub, nothing is remembered.
    """
    if not files:
        return backbone.digest()
    sums = [known_sha256(file) for file in files]
    told = (backbone.name, backbone.structure, backbone.preparation.text, backbone.width, str(backbone.machine), sums, _versions())
    name = hashlib.sha256(repr(told).encode(errors="surrogatepass")).hexdigest()
    if _is_hex(known := _recalled(name).get("digest"), 32):
        return str(known)
    found = backbone.digest()
    _keep(name, {"digest": found})
    return found


def _state(path: Path) -> list[int]:
    seen = path.stat()
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_dev]


def _versions() -> list[str]:
    found = []
    for library in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{library} {metadata.version(library)}")
    return found


def _is_hex(value: object, length: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{length}}}", value) is not None


def _recalled(name: str) -> dict[str, object]:
    try:
        said = json.loads(read_regular(_file(name), most=_LONGEST))
    except (OSError, ValueError, RecursionError, InputError):
        return {}
    return said if isinstance(said, dict) else {}


def _keep(name: str, said: dict[str, object]) -> None:
    with contextlib.suppress(OSError, InputError):
        write_bytes(_file(name), json.dumps(said).encode())


def _file(name: str) -> Path:
    folder = beside_tables("digests")
    if folder is None:
        raise FileNotFoundError("a user without a home has no cache")
    return folder / f"{name}.json"
