"""Notes, for every step of a job, which rows and classes it was given: functions are wrapped where one part of the job calls another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks

Look = Callable[..., dict[str, Iterable[int]]]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one call was given. `within`: the steps around it, the outermost first, itself last."""

    within: tuple[str, ...]
    given: dict[str, frozenset[int]]

    @property
    def step(self) -> str:
        return self.within[-1]


@dataclass
class Recorder:
    monkeypatch: pytest.MonkeyPatch
    seen: list[Seen] = field(default_factory=list)
    results: dict[str, list[Any]] = field(default_factory=dict)
    _within: list[str] = field(default_factory=list)

    def wrap(self, owner: Any, name: str, step: str, look: Look = lambda *_, **__: {}) -> None:
        """From now on `owner.name` notes what `look` makes of its arguments, and keeps what it returns."""
        original = getattr(owner, name)

        def recorded(*args: Any, **options: Any) -> Any:
            self._within.append(step)
            self.seen.append(Seen(tuple(self._within), {k: frozenset(map(int, v)) for k, v in look(*args, **options).items()}))
            try:
                result = original(*args, **options)
            finally:
                self._within.pop()
            self.results.setdefault(step, []).append(result)
            return result

        self.monkeypatch.setattr(owner, name, recorded)

    def of(self, step: str, inside: str | None = None, outside: str | None = None) -> list[Seen]:
        """The calls of a step, in their order: those inside of another one, or outside of it."""
        return [
            s
            for s in self.seen
            if s.step == step and (inside is None or inside in s.within) and (outside is None or outside not in s.within)
        ]


def classes_of(tasks: Tasks) -> list[int]:
    """Global class ids."""
    found: list[int] = np.unique(tasks.slot_class[tasks.slots]).tolist()
    return found


def asked(batches: Iterable[Episodes]) -> dict[str, Iterable[int]]:
    """Of episodes the rows, those that are learned from and those that are asked, and the classes."""
    found: dict[str, list[int]] = {"support": [], "query": [], "classes": []}
    for episodes in batches:
        for name, rows in found.items():
            rows += [v for v in getattr(episodes, name).reshape(-1).tolist() if v >= 0]
    return dict(found)
