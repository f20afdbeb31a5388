"""`scenes:NAME,option=value,...`: drawn scenes by their name, in place of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION, Column, Examples, Integers, make_examples
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.scenes.attributes import ATTRIBUTES, TARGETS
from fewtune.data.scenes.captions import CAPTIONS, captions_of
from fewtune.data.scenes.items import Scenes
from fewtune.data.scenes.sampler import attributes_of
from fewtune.errors import InputError, unknown
from fewtune.keys import key

PREFIX = "scenes:"
USUAL_SEED = 10
_OPTIONS = ("rows", "size", "seed", "captions", "splits")
_SPLITS = ("none", "rows")
_MOST_ROWS, _LEAST_SIDE, _MOST_SIDE = 1_000_000, 16, 512


@final
@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """The parts of a name such as `scenes:colour,rows=200,size=64,seed=1`.

    `target`: the label column to learn. `rows`: how many scenes; row i depends on (seed, i) alone. `seed`: 10 by default; the backbone
    `embedded` was trained on scenes of the seeds 0 to 3, so ask it about others. `size`: pixels a side. `captions`:
    "plain", or "no_count" for captions that never say how many objects there are. `splits` "rows": a row is for training, validation or
    test with probabilities .6, .2 and .2; "none": no row has a split.
    """

    full: str
    target: str
    rows: int = 1000
    size: int = 64
    seed: int = USUAL_SEED
    captions: str = "plain"
    splits: str = "none"

    def examples(self, asked: Asked) -> Examples:
        """All rows with every attribute as a label column. Raises InputError for an option that only tables have, or an unknown label."""
        if asked.input or asked.group or asked.split:
            raise InputError(f"{self.full} is drawn and has no columns of inputs, groups or splits: leave those options out.")
        if asked.kind != "class":
            raise InputError(f"{self.full}: its labels are classes, not {asked.kind} targets.")
        if isinstance(asked.label, str) and asked.label not in self._columns:
            raise unknown(f"label column of {self.full}", asked.label, self._columns)
        items = Scenes(self.seed, self.rows, self.size)
        made = make_examples(items, None, name=asked.name or self.full, row_split=self._row_split())
        target = asked.label if isinstance(asked.label, str) else self.target
        columns = self._columns
        return replace(
            made,
            columns=columns,
            target=target,
            class_split=np.full(len(columns[target].names), NO_SPLIT, dtype=np.int64),
            caption=self._captions(),
        )

    def table(self) -> Table:
        """The same as a table with the columns `image`, `caption` and one for each attribute."""

        def column(name: str) -> Any:
            if name == "image":
                return Scenes(self.seed, self.rows, self.size)
            if name == "caption":
                return self._captions()
            one = self._columns[name]
            return [one.names[value] for value in one.values.tolist()]

        names = ["image", "caption", *(a.column for a in ATTRIBUTES)]
        return Table(self.full, Lazy(names, column), self.rows, lambda row: f"{self.full}:{row}", Path())

    @property
    def _columns(self) -> dict[str, Column]:
        values = attributes_of(self.seed, np.arange(self.rows))
        return {a.column: Column("class", values[a.column], a.classes, a.templates) for a in ATTRIBUTES}

    def _captions(self) -> list[str]:
        rows = np.arange(self.rows)
        return captions_of(self.seed, rows, attributes_of(self.seed, rows), self.captions)

    def _row_split(self) -> Integers:
        if self.splits == "none":
            return np.full(self.rows, NO_SPLIT, dtype=np.int64)
        drawn = key(self.seed, "scenes", "splits").below(5, np.arange(self.rows, dtype=np.uint64))
        return np.array([TRAIN, TRAIN, TRAIN, VALIDATION, TEST], dtype=np.int64)[drawn]


def is_scenes(source: Any) -> bool:
    """Whether this is the name of drawn scenes."""
    return isinstance(source, str | Path) and str(source).startswith(PREFIX)


def scenes_named(source: str | Path) -> SceneSet:
    """The set of scenes of a name. Raises InputError for an unknown set or option, or a value that an option cannot have."""
    full = str(source)
    head, *parts = full.split(",")
    if (name := head.removeprefix(PREFIX)) not in TARGETS:
        raise unknown("set of scenes", name, TARGETS)
    given: dict[str, str] = {}
    for part in parts:
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise InputError(f"{full!r}: expected options such as rows=200, found {part!r}.")
        if option not in _OPTIONS:
            raise unknown(f"option of {PREFIX}", option, _OPTIONS)
        given[option] = value
    return SceneSet(
        full=full,
        target=TARGETS[name],
        rows=_whole(full, given, "rows", 1000, 1, _MOST_ROWS),
        size=_whole(full, given, "size", 64, _LEAST_SIDE, _MOST_SIDE),
        seed=_whole(full, given, "seed", USUAL_SEED, 0, 2**63 - 1),
        captions=_one_of(given, "captions", CAPTIONS),
        splits=_one_of(given, "splits", _SPLITS),
    )


def _whole(full: str, given: dict[str, str], option: str, usual: int, least: int, most: int) -> int:
    value = given.get(option, str(usual))
    if not (value.isascii() and value.isdecimal() and len(value) < 20 and least <= int(value) <= most):
        raise InputError(f"{full!r}: expected a whole number from {least} to {most} for {option}, found {value!r}.")
    return int(value)


def _one_of(given: dict[str, str], option: str, known: Sequence[str]) -> str:
    value = given.get(option, known[0])
    if value not in known:
        raise unknown(f"{option} of {PREFIX}", value, known)
    return value
