"""Labelled images, texts and vectors before a model looks at them.

Files, arrays, data frames and datasets come in through `reading` and become `Examples`; several `Examples` become one `RowSpace`, whose
rows a backbone embeds. `audit` says what is wrong with them, `near` finds near-duplicates, `views` makes augmented views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.audit import Audit, inspect_examples
    from fewtune.data.examples import Column, Examples, Skipped, make_examples
    from fewtune.data.items import Items, Modality
    from fewtune.data.reading.read import read_examples
    from fewtune.data.row_space import Preparation, RowSpace

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Audit": "audit",
    "Column": "examples",
    "Examples": "examples",
    "Items": "items",
    "Modality": "items",
    "Preparation": "row_space",
    "RowSpace": "row_space",
    "Skipped": "examples",
    "inspect_examples": "audit",
    "make_examples": "examples",
    "read_examples": "reading.read",
}
_ROOMS = ("near", "reading", "shifts", "views")

__all__ = [
    "Audit",
    "Column",
    "Examples",
    "Items",
    "Modality",
    "Preparation",
    "RowSpace",
    "Skipped",
    "inspect_examples",
    "make_examples",
    "read_examples",
]

__getattr__, __dir__ = opened(__name__, _WHERE, _ROOMS)
