"""Famo: all losses fall at the same relative speed, at the cost of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Needs, Scale, Seen, State
from fewtune.parts.aggregators.remembered import at_least, check_finite, check_not_negative, check_positive, put

_EPS = 1e-8


@final
@dataclass(frozen=True, kw_only=True)
class Famo:
    """w_i = c z_i / (L_i - b + eps), z = softmax(xi), c = 1 / sum_i z_i / (L_i - b + eps): the gradient of c sum_i z_i log(L_i - b + eps).

    After the step the losses L+ of the same batch are measured once more, delta_i = log(L_i - b) - log(L+_i - b), and Adam moves xi along
    the gradient J' delta, J the Jacobian of the softmax: a task that fell less than the others weighs more. One backward and one more
    forward pass, whatever the number of tasks. xi starts at 0.

    `rate`, `weight_decay`: of that Adam. `lower`: b, a bound below all losses.

    Reference: Liu et al., "FAMO: fast adaptive multitask optimization", NeurIPS 2023. The authors' code has weight decay 1e-2 in one file
    and 1e-5 in its runs; the paper says 1e-3.
    """

    rate: float = 0.025
    weight_decay: float = 1e-3
    lower: float = 0.0

    needs: ClassVar[Needs] = "losses"
    constant: ClassVar[bool] = False
    scale: ClassVar[Scale] = "mean"

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)
        check_not_negative(self, weight_decay=self.weight_decay)
        check_finite(self, lower=self.lower)

    def begin(self, tasks: int) -> State:
        return {name: torch.zeros(tasks, dtype=torch.float64) for name in ("xi", "mean", "square", "moves")}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        shares = torch.softmax(state["xi"][seen.tasks], dim=0) / self._gap(at_least(seen, "Famo", self.lower))
        return shares / shares.sum(), state

    def look_back(self, before: Seen, after: Tensor, state: State) -> State:
        """Adam's step on xi of the tasks that were present."""
        xi, mean, square, moves = (state[name][before.tasks] for name in ("xi", "mean", "square", "moves"))
        z = torch.softmax(xi, dim=0)
        delta = self._gap(before.losses).log() - self._gap(after).log()
        slope = z * (delta - z @ delta) + self.weight_decay * xi
        moves = moves + 1
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.square()
        step = mean / (1 - 0.9**moves) / ((square / (1 - 0.999**moves)).sqrt() + _EPS)
        new = {"xi": xi - self.rate * step, "mean": mean, "square": square, "moves": moves}
        return {name: put(state[name], before, value) for name, value in new.items()}

    def _gap(self, losses: Tensor) -> Tensor:
        return (losses - self.lower).clamp_min(0) + _EPS
