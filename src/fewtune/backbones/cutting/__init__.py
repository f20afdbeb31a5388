"""Computing the frozen lower part of a network only once for each row.

A backbone and the names of the weights that move come in. `find_cut` finds the latest module below them, a `Cut`; a `CutStore` keeps the
output of that module for each row, and gives the features by running only the upper part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

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

__getattr__, __dir__ = opened(__name__, _WHERE)
