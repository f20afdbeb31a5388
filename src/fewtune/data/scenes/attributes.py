"""What a scene can be: its attributes, their classes, and sentences around a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Attribute:
    """One attribute: the name of its label column, its classes in order, and templates with one `{}` for a class."""

    column: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]


COUNT = Attribute("count", tuple(str(n) for n in range(1, 11)), ("An image of {} objects",))
COLOUR = Attribute("colour", ("grey", "red", "blue", "green", "brown", "purple", "cyan", "yellow"), ("An image of {} objects",))
SHAPE = Attribute("shape", ("sphere", "cube", "cylinder", "cone", "ring"), ("An image of {}s",))
SIZE = Attribute("size", ("small", "medium", "large"), ("An image of {} objects",))
MATERIAL = Attribute("material", ("rubber", "metal", "glass", "wood", "stone"), ("An image of {} objects",))
BACKGROUND = Attribute("background", ("plain", "striped", "checkered", "dotted", "tiled"), ("An image of objects on a {} background",))
RELATION = Attribute("relation", ("left of", "right of", "behind", "in front of"), ("An image of objects {} a white cross",))

ATTRIBUTES = (COUNT, COLOUR, SHAPE, SIZE, MATERIAL, BACKGROUND, RELATION)

TARGETS: Mapping[str, str] = {"counting": "count", **{a.column: a.column for a in ATTRIBUTES if a is not COUNT}, "all": "count"}
"""The label column that is learned, by the name after `scenes:`. `scenes:all` is for several label columns; alone, it is counting."""

CODES: tuple[tuple[int, int, int], ...] = (
    (120, 120, 120),
    (190, 36, 36),
    (44, 80, 222),
    (34, 130, 40),
    (134, 82, 36),
    (140, 46, 200),
    (46, 208, 208),
    (250, 226, 54),
)
"""RGB in 0..255 of each colour, in the order of its classes."""
