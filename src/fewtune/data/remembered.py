"""Prepared rows that are kept in memory, up to a number of bytes."""

from __future__ import annotations

from typing import Any, final


@final
class Remembered:
    """Rows prepared by one preparation. Threads may share it; at worst, a row is prepared twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: dict[int, Any] = {}
        self._bytes = 0
        self._by: object = None

    def find(self, row: int, preparation: object) -> Any:
        """The row, or None."""
        return self.rows.get(row) if preparation is self._by else None

    def keep(self, row: int, preparation: object, made: Any) -> None:
        """Keep a row if there is room. Only rows of the first preparation are kept."""
        size: int | None = getattr(made, "nbytes", None)
        if size is None or self._bytes + size > self.most or (self._by is not None and self._by is not preparation):
            return
        self._by = preparation
        self.rows[row] = made
        self._bytes += size
