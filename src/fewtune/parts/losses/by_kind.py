"""ByKind: the loss of tasks of several kinds, each by its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import episode_mean, log_probabilities, widened
from fewtune.tasks.task import KINDS


@final
@dataclass(frozen=True, kw_only=True)
class ByKind:
    """What each episode of label columns (`label_tasks`) costs by its kind, the mean over its known labels:

    class: -sum_k y_k log p_k, p the softmax over the task's classes (natural logarithm);
    float: (prediction - y)^2, y in standard deviations;
    multi: -y log sigmoid(z) - (1 - y) log sigmoid(-z), a mean over rows and labels.

    NaN is missing. Equals CrossEntropy, SquaredError and BinaryCrossEntropy on the episodes of a kind. Raises InputError where episodes
    have no kind, or the learner gives another number of outputs.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        episodes, given = outcome.episodes, widened(outcome.logits)
        target = episodes.query_label
        if episodes.kind is None or target.ndim != 3:
            raise InputError("ByKind is the loss of label columns (label_tasks), but these episodes have no kind: use CrossEntropy.")
        if target.shape != given.shape:
            raise InputError(f"ByKind expects outputs of shape {list(target.shape)} as the targets, found {list(given.shape)}.")
        known = ~target.isnan() & (episodes.query >= 0)[..., None] & (episodes.classes >= 0)[:, None]
        value = target.to(given.dtype).masked_fill(~known, 0.0)
        answer = given.masked_fill(~known, 0.0)  # before anything is computed, so that no missing target sends a NaN back
        logs = log_probabilities(given, episodes)
        costs = {
            "class": episode_mean(-(value * logs).sum(-1), known.any(-1)),
            "float": episode_mean((answer - value).square(), known),
            "multi": episode_mean(functional.binary_cross_entropy_with_logits(answer, value, reduction="none"), known),
        }
        total = given.new_zeros(len(episodes))
        for number, kind in enumerate(KINDS):
            total = torch.where(episodes.kind == number, costs[kind], total)
        return total
