"""Features of rows at the starting weights of a backbone, computed once and kept on disk.

A backbone and a row space come in, a `FeatureTable` comes out (`feature_table.feature_table`). `readable_features` does the same for one
collection and leaves out rows that cannot be read, or refuses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.backbones.features.cache import default_folder, places_folder
    from fewtune.backbones.features.feature_table import FeatureTable, features_key, table_key
    from fewtune.backbones.features.readable import readable_features, refuse_unreadable, remarks_on_length, without_labels

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "FeatureTable": "feature_table",
    "default_folder": "cache",
    "features_key": "feature_table",
    "places_folder": "cache",
    "readable_features": "readable",
    "refuse_unreadable": "readable",
    "remarks_on_length": "readable",
    "table_key": "feature_table",
    "without_labels": "readable",
}

__all__ = [
    "FeatureTable",
    "default_folder",
    "features_key",
    "places_folder",
    "readable_features",
    "refuse_unreadable",
    "remarks_on_length",
    "table_key",
    "without_labels",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
