"""RandAugment: a few operations for each image, drawn from 14, all with the same magnitude.

`share` below is magnitude / 30; signed operations go either way with equal chance.
Reference: Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search space", 2020; ranges as in
torchvision. Departs: shears are about the middle; shifts are not rounded to whole pixels; solarize inverts from 256 (1 - share) on, so that
magnitude 0 changes nothing (in the authors' table, it becomes weaker with the magnitude).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.data.views.colours import autocontrast, brightness, contrast, equalize, posterize, saturation, sharpness, solarize
from fewtune.data.views.geometry import Maps, shear_x, shear_y, shift, turn
from fewtune.data.views.views import MOST
from fewtune.keys import Counters, Key

_TURN, _SHEAR, _SHIFT, _BLEND, _BITS = 30.0, 0.3, 150 / 331, 0.9, 4  # degrees, slope, share of a side, factor - 1, bits lost

_MOVES: dict[str, Callable[[float, int, int], Maps]] = {
    "rotate": lambda s, height, width: turn(_TURN * s, height, width),
    "shear_x": lambda s, height, width: shear_x(_SHEAR * s, height, width),
    "shear_y": lambda s, height, width: shear_y(_SHEAR * s, height, width),
    "translate_x": lambda s, height, width: shift(_SHIFT * s, 0),  # noqa: ARG005
    "translate_y": lambda s, height, width: shift(0, _SHIFT * s),  # noqa: ARG005
}
_BLENDS = {"color": saturation, "contrast": contrast, "brightness": brightness, "sharpness": sharpness}
_TABLES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "autocontrast": lambda images, share: autocontrast(images),  # noqa: ARG005
    "equalize": lambda images, share: equalize(images),  # noqa: ARG005
    "solarize": lambda images, share: solarize(images, 256 * (1 - share)),
    "posterize": lambda images, share: posterize(images, 8 - round(_BITS * share)),
}
OPS = ("identity", *_MOVES, *_BLENDS, *_TABLES)


@final
@dataclass(frozen=True, eq=False)
class Stage:
    """One operation of each image: `ops` [B], positions in OPS, and `signs` [B], -1 or 1."""

    ops: Integers
    signs: np.ndarray[Any, np.dtype[np.float64]]

    def of(self, name: str) -> Integers:
        """The images for which an operation was drawn."""
        return np.flatnonzero(self.ops == OPS.index(name))


def draw(stages: int, key: Key, counters: Counters) -> list[Stage]:
    """The operations of each image: a pure function of (key, counter)."""
    return [
        Stage(key.child("op", i).below(len(OPS), counters), np.where(key.child("sign", i).uniform(counters) < 0.5, -1.0, 1.0))
        for i in range(stages)
    ]


def moves(stage: Stage, magnitude: int, height: int, width: int) -> Maps:
    """The maps [B, 3, 3] of the geometric operations; the identity for images without one."""
    share = magnitude / MOST
    maps = np.tile(np.eye(3), (len(stage.ops), 1, 1))
    for name, move in _MOVES.items():
        which = stage.of(name)
        both = np.stack([move(-share, height, width), move(share, height, width)])
        maps[which] = both[(stage.signs[which] > 0).astype(np.int64)]
    return maps


def colours(images: Float[Tensor, "B C H W"], stage: Stage, magnitude: int) -> Float[Tensor, "B C H W"]:
    """The images after the operations on colours; images without one do not change."""
    share = magnitude / MOST
    for name in (*_BLENDS, *_TABLES):
        which = stage.of(name)
        if not len(which):
            continue
        index = torch.from_numpy(which).to(images.device)
        if name in _BLENDS:
            factors = torch.from_numpy(1 + _BLEND * share * stage.signs[which]).to(images)
            changed = _BLENDS[name](images[index], factors)
        else:
            changed = _TABLES[name](images[index], share)
        images = images.index_copy(0, index, changed)
    return images
