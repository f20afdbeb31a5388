"""Shifts made from any image collection: of the input (`corrupted`, `block_shuffled`), of features (`held_out_subgroups`), of labels
(`reweighted`);
`shifted` makes each of them by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.shifts.classes import held_out_subgroups, reweighted
    from fewtune.data.shifts.corruptions import CORRUPTIONS, block_shuffled, corrupted
    from fewtune.data.shifts.named import check_shifts, each_shifted, shifted

_WHERE = {
    "CORRUPTIONS": "corruptions",
    "block_shuffled": "corruptions",
    "check_shifts": "named",
    "corrupted": "corruptions",
    "each_shifted": "named",
    "held_out_subgroups": "classes",
    "reweighted": "classes",
    "shifted": "named",
}

__all__ = [
    "CORRUPTIONS",
    "block_shuffled",
    "check_shifts",
    "corrupted",
    "each_shifted",
    "held_out_subgroups",
    "reweighted",
    "shifted",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
