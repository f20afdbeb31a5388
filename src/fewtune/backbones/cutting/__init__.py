"""Computing the frozen lower part of a network only once for each row.

A backbone and the names of the weights that move come in. `find_cut` finds the latest module below them, a `Cut`; a `CutStore` keeps the
output of that module for each row, and gives the features by running only the upper part.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewtune.backbones.cutting.cut import Cut, find_cut
    from fewtune.backbones.cutting.cut_store import CutStore

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Cut": "cut",
    "CutStore": "cut_store",
    "find_cut": "cut",
}

__all__ = [
    "Cut",
    "CutStore",
    "find_cut",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"fewtune.backbones.cutting.{_WHERE[name]}"), name)
