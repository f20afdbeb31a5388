"""Some rows of other items, without a copy of them, and what wrapped items are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from fewtune.data.items import Items, Modality

Rows: TypeAlias = npt.NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of other items, in a given order."""

    whole: Items
    rows: Rows

    @property
    def modality(self) -> Modality:
        return self.whole.modality

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def on_disk(self) -> bool:
        return on_disk(self.whole)

    def locate(self, row: int) -> tuple[Items, int]:
        """The items that hold a row, and its number there."""
        return self.whole, int(self.rows[row])

    def fetch(self, row: int, size_hint: int | None = None) -> Any:
        return self.whole.fetch(int(self.rows[row]), size_hint)

    def digest(self, row: int) -> bytes:
        return self.whole.digest(int(self.rows[row]))


def subset(items: Items, rows: Rows) -> Subset:
    """Some rows of items. A subset of a subset refers to the original items directly."""
    return Subset(items.whole, items.rows[rows]) if isinstance(items, Subset) else Subset(items, rows)


def on_disk(items: Items) -> bool:
    """Whether rows are read from a disk, so that threads make reading faster."""
    return bool(getattr(items, "on_disk", False))


def source_of(items: Items, row: int) -> tuple[Items, int]:
    """The items that hold a row, and its number there: wrappers (which have a `locate`) are looked through."""
    while (locate := getattr(items, "locate", None)) is not None:
        items, row = locate(row)
    return items, row
