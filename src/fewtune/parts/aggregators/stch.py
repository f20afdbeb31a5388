"""Stch: a smooth maximum of the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State, nothing_kept
from fewtune.parts.aggregators.remembered import check_finite, check_positive


@final
@dataclass(frozen=True, kw_only=True)
class Stch:
    """The gradient of mu log sum_i exp(p_i (L_i - z_i) / mu): w_i = p_i softmax(p_i (L_i - z_i) / mu). As mu falls to 0 it becomes
    `WorstCase`, as mu grows the mean.

    `mu`: in units of the losses. `preference`: p_i by the number of the task, above 0; 1 for all if empty. `ideal`: z_i by the number of
    the task, the loss it could have at best; 0 for all if empty. Raises InputError for a task that these do not name.

    Reference: Lin et al., "Smooth Tchebycheff scalarization for multi-objective optimization", ICML 2024.
    """

    mu: float = 1.0
    preference: tuple[float, ...] = ()
    ideal: tuple[float, ...] = ()

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False
    scale: ClassVar[Scale] = "mean"

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_positive(self, mu=self.mu, **{f"preference[{i}]": p for i, p in enumerate(self.preference)})
        check_finite(self, **{f"ideal[{i}]": z for i, z in enumerate(self.ideal)})

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        p, z = self._of(seen, "preference", self.preference, 1.0), self._of(seen, "ideal", self.ideal, 0.0)
        return p * torch.softmax(p * (seen.losses - z) / self.mu, dim=0), state

    def _of(self, seen: Seen, name: str, given: tuple[float, ...], usual: float) -> Tensor:
        if given and int(seen.tasks.max()) >= len(given):
            raise InputError(f"{name} of Stch has {len(given)} numbers, one a task, but there is a task {int(seen.tasks.max())}.")
        return torch.tensor(given, dtype=torch.float64)[seen.tasks] if given else torch.full_like(seen.losses, usual)
