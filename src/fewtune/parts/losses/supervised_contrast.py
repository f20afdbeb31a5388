"""SupervisedContrast: rows of one class come near each other, rows of different classes move apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.parts.losses.alike import mean_log_share
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import class_labels, needed, widened


@final
@dataclass(frozen=True, kw_only=True)
class SupervisedContrast:
    """All pairs of an episode's labelled query rows: each row finds the others of its class among all others.

    z = cosine(query row i, query row j) / `temperature`. The loss of row i is the mean over the other rows j of its class of
    -log softmax_j z[i, j], where the softmax is over all rows but i. The loss of an episode is the mean over rows that have another row of
    their class; 0 where none has. Logits are not used.

    `temperature`, above 0, divides the cosines. Raises InputError where features are not given.

    Reference: Khosla et al., "Supervised contrastive learning", NeurIPS 2020, equation 2. SetFit (Tunstall et al., "Efficient few-shot
    learning without prompts", 2022) finetunes sentence encoders on the same pairs, drawn one by one, by the squared error of the cosine.
    Departs: one view of each row.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"the temperature divides cosines: it must be a positive number, found {self.temperature}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        label = class_labels(outcome.episodes, "SupervisedContrast")
        known = label >= 0
        rows = widened(needed("features of the query", outcome.query, "SupervisedContrast")).masked_fill(~known[..., None], 1.0)
        itself = torch.eye(label.shape[1], dtype=torch.bool, device=rows.device)
        other = known[:, None, :] & known[:, :, None] & ~itself
        cosine = torch.bmm(unit(rows), unit(rows).mT) / self.temperature
        return mean_log_share(cosine, other & (label[:, None, :] == label[:, :, None]), other)
