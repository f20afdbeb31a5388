"""Small pictures of one solid in one material, in whole numbers, made once and pasted many times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.data.scenes.solids import Floats, Seen, see

Whole: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
_SHADOW = 104  # how much of the floor's light is missing in a shadow, in 1/256


@final
@dataclass(frozen=True, eq=False)
class Sprite:
    """A solid and its shadow. A pixel becomes (behind * keep + colour * own) / 256 + white, with `keep`, `own` and `white` [h, w].

    `left`, `top`: pixels from the left and top of the window to the point where the solid touches the floor.
    """

    keep: Whole
    own: Whole
    white: Whole
    left: int
    top: int


@lru_cache(maxsize=8192)
def sprite(shape: str, material: str, halves: int, turn: int) -> Sprite:
    """The sprite of a solid whose radius is `halves` / 2 pixels."""
    window, seen, shadow = _geometry(shape, halves, turn if shape == "cube" else 0)
    cover, shade, white = (np.where(seen.hit, part, 0).astype(np.int32) for part in _painted(material, seen))
    keep = np.where(seen.hit, 256 - cover, np.where(shadow, 256 - _SHADOW, 256)).astype(np.int32)
    parts = [_averaged(part, _fine(halves)) for part in (keep, cover * shade >> 8, cover * white >> 8)]
    return Sprite(parts[0], parts[1], parts[2], left=window[0], top=window[1])


@lru_cache(maxsize=256)
def _geometry(shape: str, halves: int, turn: int) -> tuple[tuple[int, int], Seen, Mask]:
    """(pixels to the left of and above the point on the floor, what is seen at each fine point, which of them lie in the shadow)."""
    radius, points = halves / 2, _fine(halves)
    left, right, above, below = (int(part * radius) + 2 for part in (1.15, 1.4, 2.0, 0.75))
    fine = (np.arange((left + right) * points) + 0.5) / points - left
    down = (np.arange((above + below) * points) + 0.5) / points - above
    across, upward = np.meshgrid(fine / radius, -down / radius)
    return (left, above), see(shape, turn, across, upward), _in_shadow(across, upward)


def _painted(material: str, seen: Seen) -> tuple[Any, Any, Any]:
    """(how opaque, how bright in the object's colour, how much white light), in 0..256 for each point."""
    opaque = np.full(seen.hit.shape, 256)
    lit, tight = seen.diffuse, _eighth(seen.shine)
    if material == "metal":
        sky = np.where(seen.upward > 0.5, 90.0, np.where(seen.upward > 0.05, 30.0, 0.0))
        return opaque, np.floor(46.0 + 110.0 * lit + sky), np.floor(225.0 * tight * tight + 60.0 * seen.rim * seen.rim)
    if material == "glass":
        edge = seen.rim * seen.rim
        return np.floor(128.0 + 118.0 * edge), np.floor(150.0 + 100.0 * lit), np.floor(150.0 * tight * tight * tight + 60.0 * edge)
    x, y, z = seen.place
    if material == "wood":
        rings = np.floor(np.sqrt(x * x + (z + 0.6) * (z + 0.6)) * 4.5)
        light = rings - 2.0 * np.floor(rings / 2.0)  # 0 and 1 by turns
        return opaque, np.floor((64.0 + 80.0 * light) + 110.0 * lit), np.floor(18.0 * tight)
    if material == "stone":
        grain = _speckled(x, y, z)
        return opaque, np.floor((60.0 + 140.0 * lit) * (0.55 + 0.45 * grain)), np.floor(70.0 * (1.0 - grain))
    return opaque, np.floor(86.0 + 160.0 * lit), np.floor(40.0 * tight)


def _speckled(x: Floats, y: Floats, z: Floats) -> Floats:
    """0 or 1 for each small cube of the solid, as if drawn at random."""
    cell = [np.floor(part * 5.0 + 40.0).astype(np.int64).astype(np.uint64) for part in (x, y, z)]
    mixed = cell[0] * np.uint64(73856093) ^ cell[1] * np.uint64(19349663) ^ cell[2] * np.uint64(83492791)
    drawn = ((mixed * np.uint64(2654435761)) >> np.uint64(16)) % np.uint64(3)
    return np.where(drawn == 0, 0.0, 1.0)


def _eighth(values: Floats) -> Floats:
    squared = values * values
    fourth = squared * squared
    return fourth * fourth


def _in_shadow(across: Floats, upward: Floats) -> Mask:
    """Whether points of the floor lie in the shadow, a disc behind the solid and to its right."""
    x, y = across - 0.32, upward / 0.6 - 0.3
    return x * x + y * y < 1.05


def _fine(halves: int) -> int:
    """Points of a pixel, each way: large solids need fewer."""
    return 3 if halves <= 32 else 2


def _averaged(fine: Whole, points: int) -> Whole:
    """[h, w], the mean of the points of each pixel, rounded down."""
    total = sum(fine[i::points, j::points] for i in range(points) for j in range(points))
    assert isinstance(total, np.ndarray)
    return np.ascontiguousarray(total // (points * points))
