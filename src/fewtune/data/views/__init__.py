"""How images are augmented in training.

A `View` (`Identity`, `Augment` or `BlockShuffle`) says what may change; `augment.augment` and `blocks.shuffled` take a view and images and
return the changed images. Random draws depend only on a key and the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.views.views import IDENTITY, VIEWS, Augment, BlockShuffle, Identity, View

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Augment": "views",
    "BlockShuffle": "views",
    "IDENTITY": "views",
    "Identity": "views",
    "VIEWS": "views",
    "View": "views",
}

__all__ = [
    "IDENTITY",
    "VIEWS",
    "Augment",
    "BlockShuffle",
    "Identity",
    "View",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
