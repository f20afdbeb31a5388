"""What is in a scene: numbers that depend on (seed, row) alone, drawn with the keys of fewtune."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.data.scenes.attributes import ATTRIBUTES, BACKGROUND, COLOUR, COUNT, MATERIAL, RELATION, SHAPE, SIZE
from fewtune.keys import Key, key

_SLOTS = 128  # random numbers of a row: counters row * 128 to row * 128 + 127
_CELLS = 12  # places for objects: 4 beside each other, 3 behind each other
_ACROSS = 4

# left, right, far and near end of the floor where objects may stand, in 1/1024 of the side, by relation to the cross
_FLOORS = ((100, 740, 300, 900), (284, 924, 300, 900), (120, 904, 270, 730), (120, 904, 440, 930))
_CROSSES = ((928, 620), (96, 620), (512, 950), (512, 215))
_RADII = (60, 80, 106)  # 1/1024 of the side, by size


@final
@dataclass(frozen=True)
class Scene:
    """One scene, in whole numbers. Places and radii are in 1/1024 of the side of the image, from its left and top.

    `colour`, `shape`, `material`, `background`: numbers of classes. `x`, `y` [n]: where each object touches the floor, the farthest first.
    `radius`, `turn` [n]: its radius, and its turn about the vertical (0 to 4). `cross`: the middle of the white cross. `light`: the
    brightness of the objects, in 1/256. `floor`: RGB of the floor, 138 to 231. `shift`: where its pattern starts, in 1/256
    of a period.
    """

    colour: int
    shape: int
    material: int
    background: int
    x: tuple[int, ...]
    y: tuple[int, ...]
    radius: tuple[int, ...]
    turn: tuple[int, ...]
    cross: tuple[int, int]
    light: int
    floor: tuple[int, int, int]
    shift: tuple[int, int]


def attributes_of(seed: int, rows: Integers) -> dict[str, Integers]:
    """The class [N] of each attribute, by its column, for rows [N]. Each is uniform over its classes and independent of the others."""
    first = rows.astype(np.uint64) * np.uint64(_SLOTS)
    return {a.column: _key(seed).below(len(a.classes), first + np.uint64(slot)) for slot, a in enumerate(ATTRIBUTES)}


def scene(seed: int, row: int) -> Scene:
    """The scene of a row."""
    bits = _key(seed).bits(np.arange(row * _SLOTS, (row + 1) * _SLOTS, dtype=np.uint64))
    high = (bits >> np.uint64(32)).tolist()

    def below(bound: int, slot: int) -> int:
        """Uniform in 0..bound-1: what `Key.below` draws."""
        drawn: int = high[slot] * bound >> 32
        return drawn

    def around(most: int, slot: int) -> int:
        return below(2 * most + 1, slot) - most

    is_ = {a.column: below(len(a.classes), slot) for slot, a in enumerate(ATTRIBUTES)}
    count, relation = is_[COUNT.column] + 1, is_[RELATION.column]
    left, right, far, near = _FLOORS[relation]
    wide, deep = (right - left) // _ACROSS, (near - far) // (_CELLS // _ACROSS)
    objects = []
    for k, cell in enumerate(sorted(range(_CELLS), key=lambda cell: high[16 + cell])[:count]):
        x = left + cell % _ACROSS * wide + wide // 2 + around(wide // 5, 32 + k)
        y = far + cell // _ACROSS * deep + deep // 2 + around(deep // 5, 48 + k)
        radius = _RADII[is_[SIZE.column]] * (880 + 240 * (y - 200) // 800) >> 10  # nearer objects look larger
        objects.append((y, x, radius, below(5, 64 + k)))
    objects.sort()
    tone = 150 + below(70, 80)
    (across, down), slide = _CROSSES[relation], around(150, 88)
    return Scene(
        colour=is_[COLOUR.column],
        shape=is_[SHAPE.column],
        material=is_[MATERIAL.column],
        background=is_[BACKGROUND.column],
        x=tuple(x for _, x, _, _ in objects),
        y=tuple(y for y, _, _, _ in objects),
        radius=tuple(radius for _, _, radius, _ in objects),
        turn=tuple(turn for _, _, _, turn in objects),
        cross=(across, down + slide) if relation < 2 else (across + slide, down),
        light=218 + below(60, 92),
        floor=(tone + around(12, 84), tone + around(12, 85), tone + around(12, 86)),
        shift=(below(256, 96), below(256, 97)),
    )


@lru_cache(maxsize=64)
def _key(seed: int) -> Key:
    return key(seed, "scenes")
