"""RowSpace: all rows of a run. The collections are concatenated, and rows, classes and groups get global ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import numpy as np

from fewtune.data.examples import Examples, Integers
from fewtune.data.items import Item, Modality, Vectors
from fewtune.data.remembered import Remembered
from fewtune.data.subset import Subset
from fewtune.errors import InputError


@runtime_checkable
class Preparation(Protocol):
    """How inputs are prepared for a backbone: a preprocessing that is deterministic and recorded.

    `prepare` turns one fetched item into one tensor or string (it runs in the threads that decode); `batch` makes the network's input from
    prepared items. An optional attribute `size_hint` is the short side in pixels that it needs.
    """

    @property
    def modality(self) -> Modality: ...
    def prepare(self, item: Item) -> Any: ...
    def batch(self, prepared: Sequence[Any]) -> Any: ...


@final
class RowSpace:
    """Collections in one row space: global row = row in its collection + `starts[collection]`. The same class name in two collections is
    two classes.
    """

    def __init__(self, sources: Sequence[Examples], *, remember: int = 0) -> None:
        """`remember`: how many bytes of prepared images are kept in memory, so that a repeated row is not decoded again."""
        if not sources:
            raise InputError("expected at least one data set, found none.")
        kinds = {source.modality for source in sources}
        if len(kinds) > 1:
            listed = ", ".join(f"{source.name} holds {source.modality}s" for source in sources)
            raise InputError(f"expected data sets of one modality, but {listed}.")
        self.sources = tuple(sources)
        self.modality: Modality = sources[0].modality
        self.starts: Integers = np.cumsum([0, *(len(s) for s in sources)])
        self._begins: list[int] = self.starts.tolist()
        self.class_starts: Integers = np.cumsum([0, *(len(s.class_names) for s in sources)])
        self.group_starts: Integers = np.cumsum([0, *(len(s.group_names) for s in sources)])
        self._prepared = Remembered(remember if self.modality == "image" else 0)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def labels(self) -> Integers:
        """Global class ids [N], -1 if missing."""
        return _shifted([s.labels for s in self.sources], self.class_starts)

    @cached_property
    def groups(self) -> Integers:
        """Global group ids [N], -1 if there is none."""
        return _shifted([s.group for s in self.sources], self.group_starts)

    @property
    def row_split(self) -> Integers:
        return np.concatenate([s.row_split for s in self.sources])

    @property
    def class_split(self) -> Integers:
        return np.concatenate([s.class_split for s in self.sources])

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names without their collection, by global class id (for prompts)."""
        return tuple(name for s in self.sources for name in s.class_names)

    @property
    def group_names(self) -> tuple[str, ...]:
        return tuple(name for s in self.sources for name in s.group_names)

    def row_name(self, row: int) -> str:
        source, local = self.locate(row)
        return self.sources[source].row_names[local]

    def locate(self, row: int) -> tuple[int, int]:
        """(source, row within it) of a global row."""
        source = bisect_right(self._begins, row) - 1  # for a few rows at a time, NumPy is ten times slower
        return source, row - self._begins[source]

    def fetch(self, row: int, size_hint: int | None = None) -> Item:
        """One decoded item; `size_hint` is the short side in pixels that is wanted in the end."""
        source, local = self.locate(row)
        return self.sources[source].items.fetch(local, size_hint)

    def vectors(self, rows: Integers) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """The vectors of these global rows at once, float32 [n, D]; None where the only source is no array of vectors."""
        if self._array is None:
            return None
        array, places = self._array
        return np.ascontiguousarray(array[rows if places is None else places[rows]], dtype=np.float32)

    @cached_property
    def _array(self) -> tuple[np.ndarray[Any, Any], Integers | None] | None:
        """(the array that holds the rows of the only source, the place of each row in it)."""
        items = self.sources[0].items
        whole, places = (items.whole, items.rows) if isinstance(items, Subset) else (items, None)
        return (whole.vectors, places) if len(self.sources) == 1 and isinstance(whole, Vectors) else None

    def gather(self, rows: Sequence[int] | Integers, preparation: Preparation) -> Any:
        """The network's inputs for these global rows, in order. Raises InputError if the backbone takes another modality."""
        if preparation.modality != self.modality:
            raise InputError(f"the backbone takes {preparation.modality}s, but {self.sources[0].name} holds {self.modality}s.")
        return preparation.batch([self.prepared(int(row), preparation) for row in rows])

    @property
    def remembers(self) -> bool:
        """Whether prepared rows are kept."""
        return self._prepared.most > 0

    def holds(self, row: int) -> bool:
        """Whether a prepared row is kept in memory."""
        return row in self._prepared.rows

    def prepared(self, row: int, preparation: Preparation) -> Any:
        """One row as `preparation` makes it."""
        if (known := self._prepared.find(row, preparation)) is not None:
            return known
        made = preparation.prepare(self.fetch(row, getattr(preparation, "size_hint", None)))
        self._prepared.keep(row, preparation, made)
        return made


def _shifted(parts: Sequence[Integers], starts: Integers) -> Integers:
    return np.concatenate([np.where(part >= 0, part + start, -1) for part, start in zip(parts, starts[:-1], strict=True)])
