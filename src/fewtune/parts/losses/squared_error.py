"""SquaredError: the loss of regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import episode_mean, widened


@final
@dataclass(frozen=True, kw_only=True)
class SquaredError:
    """(prediction - target)^2, the mean over an episode's known targets [Q, L]; NaN is missing. In squared units of the targets.

    Raises InputError for class and multi-hot labels, and where the learner predicts another number of targets.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        target, predicted = outcome.episodes.query_label, widened(outcome.logits)
        if not target.is_floating_point():
            other = "BinaryCrossEntropy" if target.ndim == 3 else "CrossEntropy"
            raise InputError(
                f"SquaredError expects float targets, found {'multi-hot' if target.ndim == 3 else 'class'} labels: use {other}."
            )
        if target.shape != predicted.shape:
            raise InputError(
                f"SquaredError expects predictions of shape {list(target.shape)} as the targets, found {list(predicted.shape)}."
            )
        known = ~target.isnan() & (outcome.episodes.query >= 0)[..., None]
        # both sides are overwritten before the difference, so that a missing target sends no NaN back
        difference = predicted.masked_fill(~known, 0.0) - target.to(predicted.dtype).masked_fill(~known, 0.0)
        return episode_mean(difference.square(), known)
