"""Rotations as new classes: each class of images, turned by quarter turns, becomes several classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from PIL import Image

from fewtune.data.examples import Column, Examples, Integers
from fewtune.data.items import Items, Modality, content_digest
from fewtune.data.subset import on_disk
from fewtune.errors import InputError

_QUARTERS = {
    0: None,
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def rotated(examples: Examples, turns: tuple[int, ...] = (0, 90, 180, 270)) -> Examples:
    """The same images once for each of `turns` (degrees counter-clockwise); each class becomes len(turns) classes.

    A class turned by d degrees is called "name@d"; turned by 0 it keeps its name. The names of rows change in the same way. All rows in the
    first turn come first, then all rows in the second, and so on; the classes are in the same order. Class and row splits, groups and other
    label columns are repeated, so all turns of a class stay in its split. Nothing is decoded here, and a quarter turn of pixels is exact.
    Raises InputError for anything but images with classes, for angles that are not quarter turns, and for repeated angles.
    Reference: Santoro et al., "Meta-learning with memory-augmented neural networks", 2016; Vinyals et al., "Matching networks", 2016.
    """
    if examples.modality != "image":
        raise InputError(f"{examples.name} holds {examples.modality}s: expected images to turn.")
    if not turns or len(set(turns)) < len(turns) or not set(turns) <= _QUARTERS.keys():
        raise InputError(f"expected distinct turns among 0, 90, 180 and 270 degrees, found {turns}.")
    times = len(turns)
    names = _turned_names(examples.class_names, turns)
    if len(set(names)) < len(names):
        clash = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{examples.name} already has a class called {clash!r}: rename it, or do not turn the classes.")
    made = replace(
        examples,
        items=Turned(examples.items, turns),
        columns=_columns(examples.columns, examples.labels, examples.target, names, times),
        row_names=_turned_names(examples.row_names, turns),
        class_split=np.tile(examples.class_split, times),
        row_split=np.tile(examples.row_split, times),
        group=np.tile(examples.group, times),
        caption=None if examples.caption is None else list(examples.caption) * times,
    )
    if (known := examples.__dict__.get("row_digests")) is not None:  # the content is known, so nothing is read again
        made.__dict__["row_digests"] = [_turned_digest(digest, turn) for turn in turns for digest in known]
    return made


@final
@dataclass(frozen=True, eq=False)
class Turned:
    """Images once for each turn; row r is row r mod len(whole) of `whole`, turned by turns[r // len(whole)] degrees counter-clockwise."""

    whole: Items
    turns: tuple[int, ...]

    @property
    def modality(self) -> Modality:
        return self.whole.modality

    def __len__(self) -> int:
        return len(self.whole) * len(self.turns)

    @property
    def on_disk(self) -> bool:
        return on_disk(self.whole)

    def locate(self, row: int) -> tuple[Items, int]:
        """Where a row's unturned image is."""
        return self.whole, row % len(self.whole)

    def turn(self, row: int) -> int:
        """The turn of a row, in degrees."""
        return self.turns[row // len(self.whole)]

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        image = self.whole.fetch(row % len(self.whole), size_hint)
        assert isinstance(image, Image.Image)
        quarters = _QUARTERS[self.turn(row)]
        return image if quarters is None else image.transpose(quarters)

    def digest(self, row: int) -> bytes:
        return _turned_digest(self.whole.digest(row % len(self.whole)), self.turn(row))


def turn_of(items: Items, row: int) -> int:
    """The turn of a row in degrees, compared with its source: 0 except for rows of `rotated`, also if they are wrapped."""
    degrees = 0
    while (locate := getattr(items, "locate", None)) is not None:
        if isinstance(items, Turned):
            degrees += items.turn(row)
        items, row = locate(row)
    return degrees % 360


def unturned(name: str, names: Collection[str]) -> str:
    """The class that `name` is a turn of: the part before "@90", if that is one of `names`; else `name` itself."""
    whole, at, degrees = name.rpartition("@")
    return whole if at and degrees in {str(d) for d in _QUARTERS if d} and whole in names else name


def _turned_digest(digest: bytes, turn: int) -> bytes:
    return digest if turn == 0 else content_digest(digest + f"@{turn}".encode())


def _turned_names(names: Sequence[str], turns: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{name}@{turn}" if turn else name for turn in turns for name in names)


def _columns(columns: Mapping[str, Column], labels: Integers, target: str, names: tuple[str, ...], times: int) -> dict[str, Column]:
    """Every column repeated; in the target column, each turn has new classes."""
    made = {name: replace(c, values=np.concatenate([c.values] * times)) for name, c in columns.items()}
    count = len(names) // times
    made[target] = Column("class", np.concatenate([np.where(labels >= 0, labels + i * count, -1) for i in range(times)]), names)
    return made
