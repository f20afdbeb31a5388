"""Dwa: tasks whose loss falls slowly weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State
from fewtune.parts.aggregators.remembered import check_count, check_positive, not_negative, put


@final
@dataclass(frozen=True, kw_only=True)
class Dwa:
    """w = softmax(r / tau), r_i = L_i(t-1) / L_i(t-2), the ratio of a task's mean losses in its last two windows; 1 until it has had two.

    `window`: how many measurements of a task make a window (the paper's epoch). `tau`: the larger, the more alike are the weights. Losses
    must be at least 0.

    Reference: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019 (dynamic weight average, tau = 2). Departs:
    the weights sum to 1, not to T; a phase counts steps, so windows of steps stand for epochs.
    """

    tau: float = 2.0
    window: int = 20

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False
    scale: ClassVar[Scale] = "mean"

    def __post_init__(self) -> None:
        check_positive(self, tau=self.tau)
        check_count(self, window=self.window)

    def begin(self, tasks: int) -> State:
        """Means of the window at hand, the last and the one before; measurements so far (in all: which window it is follows)."""
        return {name: torch.zeros(tasks, dtype=torch.float64) for name in ("now", "last", "before", "count")}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        now, last, before, count = (state[name][seen.tasks] for name in ("now", "last", "before", "count"))
        ratio = last / before.clamp_min(torch.finfo(torch.float64).tiny)
        ratio = torch.where((count >= 2 * self.window) & (before > 0), ratio, 1.0)
        inside = count % self.window
        now = now + (not_negative(seen, "Dwa") - now) / (inside + 1)
        full = inside + 1 == self.window
        new = {
            "now": torch.where(full, 0.0, now),
            "last": torch.where(full, now, last),
            "before": torch.where(full, last, before),
            "count": count + 1,
        }
        return torch.softmax(ratio / self.tau, dim=0), {name: put(state[name], seen, value) for name, value in new.items()}
