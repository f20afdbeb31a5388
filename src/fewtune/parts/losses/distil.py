"""Distil: answer as a teacher does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import episode_mean, log_probabilities, needed, real_classes, widened


@final
@dataclass(frozen=True, kw_only=True)
class Distil:
    """weight x T^2 x KL(softmax(teacher / T) || softmax(logits / T)), T the temperature; the mean over an episode's query rows.

    The teacher is the same learner on the same rows, with the weights from before: those that the source phase, or inside `Adapt` the
    episode, began with. So what the model answered at the start is kept while another loss moves it (learning without forgetting). A head
    that starts at zero has nothing to teach: use it where the head reads the support or class names, or in a second phase.

    T^2 keeps the size of the gradient when T changes. The teacher's logits are constants; labels are not read. Its rows are not counted as
    visits. Raises InputError where there is no teacher.

    Reference: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015; Li, Hoiem, "Learning without forgetting", ECCV
    2016 (the start as the teacher). Departs: they minimise the cross-entropy with
    the teacher, which differs by the teacher's entropy, a constant; so a perfect student costs 0 here.
    """

    temperature: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf") or not 0 <= self.weight < float("inf"):
            raise InputError(f"expected a temperature above 0 and a weight of at least 0, found {self.temperature} and {self.weight}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        teacher = widened(needed("a teacher's logits", outcome.teacher, "Distil").detach())
        logs = log_probabilities(widened(outcome.logits) / self.temperature, outcome.episodes)
        wanted = log_probabilities(teacher / self.temperature, outcome.episodes).to(logs.dtype)
        share = wanted.exp() * real_classes(outcome.episodes, logs)
        divergence = (share * (wanted - logs)).sum(dim=-1)
        return self.weight * self.temperature**2 * episode_mean(divergence, outcome.episodes.query >= 0)
