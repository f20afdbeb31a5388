"""AtMost: another loss is kept below a bound while the phase's own losses are minimised (a Lagrange multiplier)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Loss, Outcome
from fewtune.parts.losses.supervised_contrast import SupervisedContrast

_LEAST = 1e-9  # of a multiplier; below it moves more slowly
_CONTRAST = SupervisedContrast()
MULTIPLIERS = "multipliers"  # the first part of the names of multipliers, which go up where all else goes down


@final
@dataclass(frozen=True, kw_only=True)
class AtMost:
    """exp(s) x (loss - most): the Lagrangian of "minimise the other losses subject to `loss` <= `most`".

    lambda = exp(s) > 0 is the multiplier. The declared parameter s, `multipliers.<name>`, begins at log `start`. In a source phase it moves
    up by (loss - most), cut to -1..1, at the rate that the plan has for `multipliers.*`: lambda grows while the bound is broken and falls
    while it is kept (dual ascent in log lambda). `most` inf: no bound, the loss is 0. Two constraints need two names.

    For source phases only. Raises InputError for `start` of 0 or less, a NaN bound, and where no multiplier was declared (inside `Adapt`).
    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024 (multitask finetuning
    subject to a pretraining loss of at most eps_0).
    """

    loss: Loss = _CONTRAST
    most: float = math.inf
    start: float = 1.0
    name: str = "constraint"

    def __post_init__(self) -> None:
        if not 0 < self.start < math.inf or math.isnan(self.most) or not self.name:
            raise InputError(f"AtMost takes a bound, a start above 0 and a name, found {self.most}, {self.start} and {self.name!r}.")

    def declare(self) -> dict[str, Tensor]:
        """The log of the multiplier."""
        return {f"{MULTIPLIERS}.{self.name}": torch.tensor(math.log(self.start), dtype=torch.float32)}

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        E = len(outcome.episodes)
        if self.most == math.inf:
            return outcome.logits.new_zeros(E, dtype=torch.float32)
        name = f"{MULTIPLIERS}.{self.name}"
        if name in outcome.own:
            s = outcome.own[name]
        elif name in outcome.shared:
            s = outcome.shared[name].expand(E)
        else:
            raise InputError("AtMost keeps its multiplier from step to step: use it in a source phase whose plan moves multipliers.*.")
        value = self.loss(replace(outcome, own={n: t for n, t in outcome.own.items() if not n.startswith(f"{MULTIPLIERS}.")}))
        asked = (outcome.episodes.query >= 0).any(dim=1).to(value)
        return s.to(value).exp() * (value - self.most) * asked


def upwards(gradients: Mapping[str, Tensor | None], weights: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """The gradients; those of multipliers are turned round, so that a step down goes up in them, and become (loss - most), cut to -1..1."""

    def turned(s: Tensor, g: Tensor) -> Tensor:
        return -(g / s.detach().exp().clamp_min(_LEAST)).clamp(-1, 1)

    mine = f"{MULTIPLIERS}."
    return {n: turned(weights[n], g) if g is not None and n.startswith(mine) else g for n, g in gradients.items()}
