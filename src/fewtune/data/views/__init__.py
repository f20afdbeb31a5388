"""How images are augmented in training.

A `View` (`Identity` or `Augment`) says what may change; `augment.augment` takes a view and images and returns the changed images. The
random draws depend only on a key and the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.views.views import IDENTITY, VIEWS, Augment, Identity, View

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Augment": "views",
    "IDENTITY": "views",
    "Identity": "views",
    "VIEWS": "views",
    "View": "views",
}

__all__ = [
    "IDENTITY",
    "VIEWS",
    "Augment",
    "Identity",
    "View",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
