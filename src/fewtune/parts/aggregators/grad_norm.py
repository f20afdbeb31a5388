"""GradNorm: tasks are brought to the same speed by the lengths of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading
from fewtune.parts.aggregators.remembered import check_not_negative, check_positive, first_losses, put, relative, with_first


@final
@dataclass(frozen=True, kw_only=True)
class GradNorm:
    """Weights w_i for which the weighted gradients have the lengths w_i |g_i| = mean_j(w_j |g_j|) r_i^alpha, r_i = (L_i / L_i(0)) /
    mean_j(L_j / L_j(0)): a task that has learned less than the others gets a longer gradient, so the weight of a stalled task rises.

    In every step w_i is multiplied by (target_i / (w_i |g_i|))^rate, and the weights of the tasks present keep their sum. With alpha = 0
    all w_i |g_i| become equal. Weights start at 1. |g_i| is read off the diagonal of the Gram matrix, so `gram` says which gradients count
    (all shared weights; "representation" is closest to the paper's last shared layer). L_i(0) is the mean of a task's first 10 losses, not
    of one batch. Losses must be at least 0.

    Reference: Chen et al., "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML 2018 (alpha 1.5
    where tasks differ, 0.12 where they are alike; rate 0.025). Departs: the paper descends sum_i |w_i |g_i| - target_i| by w, whose steps
    hop over the solution and make weights negative where gradients differ 100-fold; here the step is one on the squared difference of
    the logarithms by log w, which rests at the same weights.
    """

    alpha: float = 1.5
    rate: float = 0.025
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_reading(self)
        check_positive(self, rate=self.rate)
        check_not_negative(self, alpha=self.alpha)

    def begin(self, tasks: int) -> State:
        return {"log_w": torch.zeros(tasks, dtype=torch.float64), **first_losses(tasks)}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        state = with_first(seen, state)
        ratio = relative(seen, state)
        tiny = torch.finfo(torch.float64).tiny
        speed = (ratio / ratio.mean().clamp_min(tiny)).clamp_min(tiny)
        log_w = state["log_w"][seen.tasks]
        moving = seen.inner.diagonal() > 0  # a gradient of zero has no length to bring anywhere
        length = log_w + seen.inner.diagonal().log() / 2
        target = torch.logsumexp(length, dim=0) - moving.sum().log() + self.alpha * speed.log()
        moved = log_w + self.rate * torch.where(moving, target - length, 0.0)
        new = torch.log_softmax(moved, dim=0) + torch.logsumexp(log_w, dim=0)
        return new.exp(), {**state, "log_w": put(state["log_w"], seen, new)}
