"""CrossEntropy: the loss of classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import class_labels, episode_mean, log_probabilities


@final
@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """-(1 - s) log p(y) - s / K sum_k log p(k), s being `label_smoothing` in [0, 1), the mean over an episode's labelled query rows.

    p = softmax of the logits over the episode's K real classes (natural logarithm). Equals torch.nn.functional.cross_entropy. Raises
    InputError for float and multi-hot labels.

    Reference: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016 (label smoothing).
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be at least 0 and below 1, found {self.label_smoothing}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        label = class_labels(outcome.episodes, "CrossEntropy")
        logs = log_probabilities(outcome.logits, outcome.episodes)
        cost = -logs.gather(2, label.clamp_min(0)[..., None])[..., 0]
        if self.label_smoothing:
            ways = (outcome.episodes.classes >= 0).sum(dim=1, keepdim=True)
            cost = (1 - self.label_smoothing) * cost - self.label_smoothing * logs.sum(dim=-1) / ways
        return episode_mean(cost, label >= 0)
