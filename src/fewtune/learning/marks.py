"""Marks: steps on the way of a training run after which it is looked at, to keep its weights or to measure them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor

Look: TypeAlias = Callable[[int, Mapping[str, Tensor]], Mapping[str, float]]


@final
@dataclass(frozen=True, eq=False)
class Marks:
    """After each of the updates `steps`, counted from 1 over all phases of the run, `look(step, weights)` is called. It changes nothing in
    the run; the numbers that it returns stand in that step's row of the curve. A resumed run looks again only at what is still to come."""

    steps: frozenset[int]
    look: Look


NO_MARKS = Marks(frozenset(), lambda step, weights: {})  # noqa: ARG005
