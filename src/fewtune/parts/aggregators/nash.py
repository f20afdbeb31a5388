"""Nash: the update on which tasks agree that bargain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept
from fewtune.parts.aggregators.solvers import balanced, unit_gram


@final
@dataclass(frozen=True, kw_only=True)
class Nash:
    """a > 0 with G a = 1 / a: of all updates of one length, the one with the greatest product of the tasks' gains. Solved by Newton's
    method for unit gradients, to a residual of 1e-8 and better where lengths differ 10,000-fold.

    A task whose gradient is zero weighs 0. With `scale="own"` one task alone weighs 1 / |g| (a declared exception to the axis' law).

    Reference: Navon et al., "Multi-task learning as a bargaining game", ICML 2022 (Nash-MTL). Departs: the authors solve a sequence of
    convex programs, warm and to few steps, and clip the length of the update at 1; use `clip` of the phase.
    """

    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_reading(self)

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        return fair(seen, 1.0), state


def fair(seen: Seen, power: float) -> Tensor:
    """a [T] > 0 with G a = a^-power; 0 for gradients of zero."""
    R, lengths, moving = unit_gram(seen.inner)
    weights = torch.zeros_like(seen.losses)
    if moving.any():
        usual = lengths.max()  # a unit in which no power overflows
        unit = lengths / usual
        found = balanced(R, unit ** (power - 1), power) / unit
        weights[torch.from_numpy(moving)] = torch.from_numpy(found) * usual ** (-2 / (1 + power))
    return weights
