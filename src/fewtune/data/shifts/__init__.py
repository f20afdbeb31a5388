"""Shifts made from any image collection: of the input (`corrupted`, `block_shuffled`), of features (`held_out_subgroups`), of labels
(`reweighted`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.shifts.classes import held_out_subgroups, reweighted
    from fewtune.data.shifts.corruptions import CORRUPTIONS, block_shuffled, corrupted

_WHERE = {
    "CORRUPTIONS": "corruptions",
    "block_shuffled": "corruptions",
    "corrupted": "corruptions",
    "held_out_subgroups": "classes",
    "reweighted": "classes",
}

__all__ = [
    "CORRUPTIONS",
    "block_shuffled",
    "corrupted",
    "held_out_subgroups",
    "reweighted",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
