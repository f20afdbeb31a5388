"""Where feature tables and the places of backbones are kept. In its own file, so that it works even if torch cannot be imported."""

from __future__ import annotations

from pathlib import Path

from fewtune.files.cache_folder import beside_tables as beside_tables
from fewtune.files.cache_folder import default_folder as default_folder


def places_folder() -> Path | None:
    """$FEWTUNE_CACHE/places, or ~/.cache/fewtune/places: where backbones from local folders and files are; None without a home folder."""
    return beside_tables("places")
