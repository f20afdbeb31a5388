"""From a scene to pixels: the floor with its pattern and cross, then the objects from the farthest to the nearest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fewtune.data.scenes.attributes import BACKGROUND, CODES, MATERIAL, SHAPE
from fewtune.data.scenes.sampler import Scene
from fewtune.data.scenes.sprites import Whole, sprite

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_CROSS, _THIN = 60, 15  # half the length and half the width of a bar of the cross, in 1/1024 of the side
_WHITE, _DARKER = 250, 34  # the cross; how much darker the second tone of a floor is, in 0..255
_FARTHEST = 208  # the light at the far end of the floor, in 1/256 of that at the near end


def drawn(scene: Scene, side: int) -> Bytes:
    """The picture of a scene, uint8 [side, side, 3]."""
    edge = side // 5 + 4  # objects may stand out of the picture; they are cut off at the end
    canvas = np.empty((3, side + 2 * edge, side + 2 * edge), dtype=np.int32)
    inside = canvas[:, edge : edge + side, edge : edge + side]
    inside[:] = _floor(scene, side)
    colour = np.array(CODES[scene.colour], dtype=np.int32)[:, None, None] * scene.light >> 8
    shape, material = SHAPE.classes[scene.shape], MATERIAL.classes[scene.material]
    for x, y, radius, turn in zip(scene.x, scene.y, scene.radius, scene.turn, strict=True):
        one = sprite(shape, material, _halves(radius, side), turn)
        top, left = edge + (y * side >> 10) - one.top, edge + (x * side >> 10) - one.left
        height, width = one.keep.shape
        part = canvas[:, top : top + height, left : left + width]
        part *= one.keep
        part += colour * one.own
        part >>= 8
        part += one.white
    np.minimum(inside, 255, out=inside)
    return np.ascontiguousarray(inside.astype(np.uint8).transpose(1, 2, 0))


def _halves(radius: int, side: int) -> int:
    """A radius in half pixels, at least 2; above 16 pixels in steps of 2, so that few sprites are needed."""
    halves = max((radius * side + 256) >> 9, 2)
    return halves if halves <= 32 else halves + 2 & ~3


def _floor(scene: Scene, side: int) -> Whole:
    """The empty floor with its cross, int32 [3, side, side]. The cross is foreshortened as the floor is."""
    cell = max(side // 8, 2)  # pixels of one period of a pattern
    right, down = scene.shift[0] * cell >> 8, scene.shift[1] * cell >> 8
    darker = _pattern(BACKGROUND.classes[scene.background], cell, side)[down : down + side, right : right + side]
    floor: Whole = np.array(scene.floor, dtype=np.int32)[:, None, None] - darker
    x, y = scene.cross[0] * side >> 10, scene.cross[1] * side >> 10
    long, thin = max(_CROSS * side >> 10, 2), max(_THIN * side >> 10, 1)
    flat, low = max(long * 3 // 4, 2), max(thin * 3 // 4, 1)
    floor[:, max(y - low, 0) : y + low, max(x - long, 0) : x + long] = _WHITE
    floor[:, max(y - flat, 0) : y + flat, max(x - thin, 0) : x + thin] = _WHITE
    floor *= _light(side)
    floor >>= 8
    return floor


@lru_cache(maxsize=64)
def _pattern(kind: str, cell: int, side: int) -> Whole:
    """How much darker the floor is at each point, int32 [side + cell, side + cell]."""
    down, right = np.mgrid[: side + cell, : side + cell] % cell
    half = cell // 2
    if kind == "striped":
        marked = (np.add(*np.mgrid[: side + cell, : side + cell]) % cell) < half
    elif kind == "checkered":
        marked = (down < half) ^ (right < half)
    elif kind == "dotted":
        x, y = 2 * right + 1 - cell, 2 * down + 1 - cell
        marked = 9 * (x * x + y * y) < cell * cell * 3
    elif kind == "tiled":
        thin = max(cell // 8, 1)
        marked = (down < thin) | (right < thin)
    else:
        marked = np.zeros((side + cell, side + cell), dtype=bool)
    return np.where(marked, _DARKER, 0).astype(np.int32)


@lru_cache(maxsize=64)
def _light(side: int) -> Whole:
    """The light on each row of pixels, int32 [side, 1], in 1/256."""
    return (_FARTHEST + (256 - _FARTHEST) * np.arange(side, dtype=np.int32) // side)[:, None].astype(np.int32)
