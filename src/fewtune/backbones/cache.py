"""Where feature tables are kept. Apart from the tables, so that it can be asked where torch does not import."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """$FEWTUNE_CACHE, or ~/.cache/fewtune/features."""
    return Path(os.environ.get("FEWTUNE_CACHE") or "~/.cache/fewtune/features").expanduser()
