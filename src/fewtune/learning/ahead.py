"""Ahead: the rows of the coming step are decoded in threads while this one is computed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import final

import numpy as np

from fewtune.errors import InputError
from fewtune.learning.ground import Ground
from fewtune.tasks.episodes import Episodes


@final
class Ahead:
    """Fills the row space's memory of prepared rows. A context manager; without such a memory it does nothing."""

    def __init__(self, ground: Ground) -> None:
        self._space, self._preparation = ground.space, ground.backbone.preparation
        useful = self._space.remembers and ground.store is None
        self._threads = ThreadPoolExecutor(max(1, ground.backbone.machine.workers - 1)) if useful else None

    def fetch(self, episodes: Episodes) -> None:
        """Begin to decode what is not there yet."""
        if self._threads is None:
            return
        rows = np.unique(np.concatenate([episodes.support.reshape(-1).cpu().numpy(), episodes.query.reshape(-1).cpu().numpy()]))
        for row in rows[rows >= 0].tolist():
            if not self._space.holds(row):
                self._threads.submit(self._one, row)

    def _one(self, row: int) -> None:
        try:
            self._space.prepared(row, self._preparation)
        except (InputError, OSError):
            return  # whoever needs the row meets the problem, and says it

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
