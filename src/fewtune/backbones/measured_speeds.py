"""How fast models were on this machine when it was last measured, kept in the cache of this user."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from fewtune.backbones.features.cache import beside_tables
from fewtune.errors import InputError
from fewtune.files import read_regular, write_bytes

_FILE = "speeds.json"
_LONGEST = 1 << 20  # bytes


def known_speeds() -> dict[str, float]:
    """Rows a second by the name of the model; empty where nothing was measured or what is kept cannot be read."""
    try:
        said = json.loads(read_regular(_file(), most=_LONGEST))
        return {str(name): float(speed) for name, speed in said.items() if math.isfinite(float(speed)) and float(speed) > 0}
    except (OSError, ValueError, TypeError, AttributeError, InputError):
        return {}


def keep_speeds(measured: Mapping[str, float]) -> None:
    """Keep new speeds beside the others. Does nothing if the cache is not writable."""
    with contextlib.suppress(OSError, InputError):
        write_bytes(_file(), json.dumps({**known_speeds(), **measured}, indent=1, sort_keys=True).encode())


def _file() -> Path:
    folder = beside_tables("speeds")
    if folder is None:
        raise FileNotFoundError("a user without a home has no cache")
    return folder / _FILE
