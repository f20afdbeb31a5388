"""ClassAnchor: the rows of a head are held near their start, each class as firmly as its start deserves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.of_tasks import check_strength
from fewtune.parts.losses.queries import class_labels, log_probabilities, needed, real_classes, widened


@final
@dataclass(frozen=True, kw_only=True)
class ClassAnchor:
    """strength / K x sum over classes of a_c |w_c - stop(w_c at the start)|^2, w the rows `<head>.weight` [K, D] that an episode moves.

    `agreement`: a_c is the mean probability that the start gives class c on the rows of c in this step, so that a name that the examples
    agree with is held fast; 0 for a class without rows. False: a_c = 1. For a phase inside `Adapt` whose head has rows for each place, such
    as `Linear(start="text", cosine=True)`. Raises InputError where no such rows move.

    Reference: Silva-Rodriguez et al., "A closer look at the few-shot adaptation of large vision-language models", CVPR 2024 (CLAP).
    """

    strength: float = 1.0
    agreement: bool = True
    head: str = "head"

    def __post_init__(self) -> None:
        check_strength("ClassAnchor", self.strength)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        name = f"{self.head}.weight"
        if name not in outcome.own or name not in outcome.shared or outcome.own[name].ndim != 3:
            raise InputError(
                f"ClassAnchor holds the rows {name!r} of a head that each episode moves, and there are none: use it inside Adapt, with "
                "Linear(start='text', cosine=True)."
            )
        own, start = widened(outcome.own[name]), widened(outcome.shared[name].detach())
        distance = (own - start).square().sum(-1)
        real = real_classes(outcome.episodes, distance).squeeze(1)[:, : distance.shape[-1]]
        held = real * (self._agreement(outcome, distance) if self.agreement else 1.0)
        return self.strength * (held * distance).sum(-1) / real.sum(-1).clamp_min(1)

    def _agreement(self, outcome: Outcome, like: Tensor) -> Float[Tensor, "E K"]:
        teacher = widened(needed("a teacher's logits", outcome.teacher, "ClassAnchor").detach())
        shares = log_probabilities(teacher, outcome.episodes).exp()[..., : like.shape[-1]].to(like)
        labels = class_labels(outcome.episodes, "ClassAnchor").to(like.device)
        members = (labels[..., None] == labels.new_tensor(range(like.shape[-1]))).to(like)
        return (shares * members).sum(1) / members.sum(1).clamp_min(1)
