"""Entropy: confident answers on the query, without its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import episode_mean, log_probabilities


@final
@dataclass(frozen=True, kw_only=True)
class Entropy:
    """weight x H(p), H(p) = -sum_k p(k) log p(k), p = softmax of the logits; the mean over an episode's query rows, in nats.

    Labels are not read: on the rows that are to be predicted it makes a method transductive, which has to be said with its results.

    Reference: Grandvalet, Bengio, "Semi-supervised learning by entropy minimization", NeurIPS 2004; Dhillon et al., "A baseline for
    few-shot image classification", ICLR 2020 (transductive finetuning).
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not abs(self.weight) < float("inf"):
            raise InputError(f"the weight must be a finite number (below 0 rewards doubt), found {self.weight}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        logs = log_probabilities(outcome.logits, outcome.episodes)
        return self.weight * episode_mean(-(logs.exp() * logs).sum(dim=-1), outcome.episodes.query >= 0)
