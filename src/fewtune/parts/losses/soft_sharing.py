"""SoftSharing: networks of several tasks that are held near each other (soft parameter sharing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.of_tasks import check_strength, of_tasks


@final
@dataclass(frozen=True, kw_only=True)
class SoftSharing:
    """strength x sum over pairs of tasks of ||theta_i - theta_j||, or of its square with `squared`.

    theta_t: all that moves of the weights whose names match `names` (as in a Plan), which have a leading number of tasks, so that only
    tensors that every task has are compared; by default the hidden layers of `Independent`. The penalty is added to the loss of every
    episode, so where tasks are averaged it counts once beside their mean. With strength 0 the tasks are independent; the larger it is, the
    nearer they come to one shared network. The norm is not squared unless it is asked for: it then makes networks equal, and
    not only similar. At equal weights its gradient is taken as 0.

    Reference: Duong et al., "Low resource dependency parsing: cross-lingual parameter sharing in a neural network parser", ACL 2015
    (squared).
    """

    strength: float = 1e-3
    squared: bool = False
    names: str = "head.trunk.*"

    def __post_init__(self) -> None:
        check_strength("SoftSharing", self.strength)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        found = of_tasks(outcome, self.names, "SoftSharing")
        rows = torch.cat([t.flatten(2) for t in found], -1)  # [E, T, P]
        T = rows.shape[1]
        if self.squared:  # the sum over pairs is T times the spread around the mean
            total = T * (rows - rows.mean(1, keepdim=True)).square().sum((1, 2))
        else:
            first, second = torch.triu_indices(T, T, 1)
            squares = (rows[:, first] - rows[:, second]).square().sum(-1)
            total = (squares.masked_fill(squares == 0, 1.0).sqrt() * (squares > 0)).sum(-1)
        return self.strength * total.expand(len(outcome.episodes))
