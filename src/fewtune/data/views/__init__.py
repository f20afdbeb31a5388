"""How images are augmented in training.

A `View` (`Identity` or `Augment`) says what may change; `augment.augment` takes a view and images and returns the changed images. The
random draws depend only on a key and the row.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"fewtune.data.views.{_WHERE[name]}"), name)
