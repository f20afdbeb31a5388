"""Where what can be made or fetched again is kept."""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.files.plain import expanded


def default_folder() -> Path | None:
    """$FEWTUNE_CACHE, or ~/.cache/fewtune/features; None for a user without a home folder, whose tables are kept in memory."""
    given = os.environ.get("FEWTUNE_CACHE")
    if given:
        return expanded(given)
    try:
        return Path("~/.cache/fewtune/features").expanduser()
    except RuntimeError:
        return None


def beside_tables(name: str) -> Path | None:
    """$FEWTUNE_CACHE/NAME, or ~/.cache/fewtune/NAME; None without a home folder."""
    tables = default_folder()
    return None if tables is None else tables / name if os.environ.get("FEWTUNE_CACHE") else tables.with_name(name)
