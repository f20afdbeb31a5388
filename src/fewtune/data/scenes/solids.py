"""Solids as distance functions, and what a camera sees of them.

Every number is made by +, -, *, /, square root, maximum and comparison of float64 arrays, element by element. IEEE 754 rounds each of
them in one way, so the pixels are the same on every machine; sums over axes, matrix products, powers and sines are not used, because
their last bit differs between machines.
Reference: Hart, "Sphere tracing: a geometric method for the antialiased ray tracing of implicit surfaces", The Visual Computer 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Vector: TypeAlias = tuple[Floats, Floats, Floats]

# lengths of 1, exactly: the camera looks down by 36.9 degrees; light comes from the left, from the front and from above
UP, AHEAD = (0.0, 0.6, 0.8), (0.0, 0.8, -0.6)
LIGHT = (-0.48, -0.6, 0.64)
HALF = (-0.24860123713951252, -0.7250869416569116, 0.6422198626104074)  # between light and camera
TURNS = ((1.0, 0.0), (0.96, 0.28), (0.8, 0.6), (0.6, 0.8), (0.28, 0.96))  # cosine and sine, exactly of length 1
_STEPS = 32


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """What the camera sees at points [H, W] of the image. `hit`: whether it is the solid. `diffuse`, `shine` in 0..1: the light that a
    dull surface reflects, and the cosine between its normal and `HALF`. `rim` in 0..1: 1 where the surface turns away from the camera.
    `upward`: the height of the normal. `place`: the point of the surface, in radii, turning with the solid.
    """

    hit: np.ndarray[Any, np.dtype[np.bool_]]
    diffuse: Floats
    shine: Floats
    rim: Floats
    upward: Floats
    place: Vector


def see(shape: str, turn: int, across: Floats, upward: Floats) -> Seen:
    """The solid seen at image points `across`, `upward` [H, W] in radii, from the point where it touches the floor."""
    zero = across * 0.0
    start = (across, UP[1] * upward, UP[2] * upward)
    along = zero - 4.0
    for _ in range(_STEPS):
        along = along + distance(shape, turn, _ahead(start, along))
    point = _ahead(start, along)
    hit = np.abs(distance(shape, turn, point)) < 0.02
    normal = _normal(shape, turn, point)
    facing = np.maximum(0.0 - _dot(normal, AHEAD), 0.0)
    return Seen(
        hit=hit,
        diffuse=np.maximum(_dot(normal, LIGHT), 0.0),
        shine=np.maximum(_dot(normal, HALF), 0.0),
        rim=1.0 - np.minimum(facing, 1.0),
        upward=normal[2],
        place=_turned(turn, point),
    )


def distance(shape: str, turn: int, point: Vector) -> Floats:
    """A lower bound of the distance to the surface, negative inside; points in radii, the solid stands on the floor z = 0."""
    x, y, z = _turned(turn, point)
    if shape == "sphere":
        return _length(x, y, z - 0.95) - 0.95
    if shape == "cube":
        out = (np.abs(x) - 0.78, np.abs(y) - 0.78, np.abs(z - 0.82) - 0.78)
        outside = _length(*(np.maximum(side, 0.0) for side in out))
        return outside + np.minimum(np.maximum(np.maximum(out[0], out[1]), out[2]), 0.0) - 0.04
    rho = np.sqrt(x * x + y * y)
    if shape == "cylinder":
        side, end = rho - 0.74, np.abs(z - 0.88) - 0.84
        outside = _length(np.maximum(side, 0.0), np.maximum(end, 0.0), 0.0 * z)
        return outside + np.minimum(np.maximum(side, end), 0.0) - 0.04
    if shape == "cone":
        cone: Floats = np.maximum((rho * 2.0 + (z - 2.0)) / 2.2360679774997896, 0.0 - z)
        return cone
    return _length(rho - 0.78, z - 0.34, 0.0 * z) - 0.34


def _ahead(start: Vector, along: Floats) -> Vector:
    return start[0], start[1] + AHEAD[1] * along, start[2] + AHEAD[2] * along


def _turned(turn: int, point: Vector) -> Vector:
    cosine, sine = TURNS[turn]
    return cosine * point[0] + sine * point[1], cosine * point[1] - sine * point[0], point[2]


def _normal(shape: str, turn: int, point: Vector) -> Vector:
    """The direction in which the distance grows, by central differences."""
    step = 0.001
    x, y, z = point
    by = (
        distance(shape, turn, (x + step, y, z)) - distance(shape, turn, (x - step, y, z)),
        distance(shape, turn, (x, y + step, z)) - distance(shape, turn, (x, y - step, z)),
        distance(shape, turn, (x, y, z + step)) - distance(shape, turn, (x, y, z - step)),
    )
    long = np.maximum(_length(*by), 1e-12)
    return by[0] / long, by[1] / long, by[2] / long


def _dot(normal: Vector, with_: tuple[float, float, float]) -> Floats:
    return normal[0] * with_[0] + normal[1] * with_[1] + normal[2] * with_[2]


def _length(x: Floats, y: Floats, z: Floats) -> Floats:
    length: Floats = np.sqrt(x * x + y * y + z * z)
    return length
