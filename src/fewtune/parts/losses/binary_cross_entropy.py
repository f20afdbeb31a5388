"""BinaryCrossEntropy: the loss where several classes may hold at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import episode_mean, widened


@final
@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """-y log sigmoid(z) - (1 - y) log sigmoid(-z), the mean over an episode's known labels [Q, L] of 0 and 1; -1 is missing.

    Equals torch.nn.functional.binary_cross_entropy_with_logits. Raises InputError for class labels and float targets, and where the
    learner answers for another number of labels.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        label, logits = outcome.episodes.query_label, widened(outcome.logits)
        if label.is_floating_point() or label.ndim != 3:
            found, other = ("float targets", "SquaredError") if label.is_floating_point() else ("one class a row", "CrossEntropy")
            raise InputError(f"BinaryCrossEntropy expects multi-hot labels, found {found}: use {other}.")
        if label.shape != logits.shape:
            raise InputError(f"BinaryCrossEntropy expects logits of shape {list(label.shape)} as the labels, found {list(logits.shape)}.")
        known = (label >= 0) & (outcome.episodes.query >= 0)[..., None]
        logits = logits.masked_fill(~known, 0.0)
        cost = torch.nn.functional.softplus(logits) - logits * label.to(logits.dtype)
        return episode_mean(cost, known)
