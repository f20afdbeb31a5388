"""Where feature tables are kept. Apart from the tables, so that it can be asked where torch does not import."""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.files import expanded


def default_folder() -> Path | None:
    """$FEWTUNE_CACHE, or ~/.cache/fewtune/features; None for a user without a home, whose tables are kept in memory."""
    given = os.environ.get("FEWTUNE_CACHE")
    if given:
        return expanded(given)
    try:
        return Path("~/.cache/fewtune/features").expanduser()
    except RuntimeError:
        return None
