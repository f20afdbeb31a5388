"""SigmoidContrast: every pair of a row and a text is asked alone whether the two belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import class_labels, widened


@final
@dataclass(frozen=True, kw_only=True)
class SigmoidContrast:
    """The sum over rows i and texts k of -log sigmoid(s z[i, k]), s = 1 where text k is row i's own and else -1, by the number of rows.

    z: the learner's logits, t x cosine + b (head `Paired(temperature=10, offset=-10)`), so that t and b may be learned; a softmax would
    not see b. Rows whose text is not known are left out. With one row a text this is SigLIP's loss.

    Reference: Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023, algorithm 1.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        episodes = outcome.episodes
        label = class_labels(episodes, "SigmoidContrast")
        known, real = label >= 0, episodes.classes >= 0
        own = label[..., None] == torch.arange(episodes.ways, device=label.device)
        pairs = known[..., None] & real[:, None, :]
        logits = widened(outcome.logits).masked_fill(~pairs, 0.0)
        cost = functional.softplus(torch.where(own, -logits, logits)).masked_fill(~pairs, 0.0)
        return cost.sum((1, 2)) / known.sum(1).clamp_min(1)
