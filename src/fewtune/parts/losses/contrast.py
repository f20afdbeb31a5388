"""Contrast: images and texts find each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import class_labels, episode_mean, log_probabilities, needed, widened


@final
@dataclass(frozen=True, kw_only=True)
class Contrast:
    """(image to text + text to image) / 2 within an episode, whose rows are pairs: `query_label` says which of the texts is a row's own.

    z = temperature x cosine(query row i, class vector k). Image to text: the mean over rows of -log softmax_k z[i, y_i]. Text to image: the
    mean over texts with a row of their own of -log softmax_i z[i, k], averaged over the rows i of text k. With one row a text
    (query_label = 0..Q-1, also where captions are alike) this is CLIP's loss, as FLYP finetunes; with a row for each example and a text
    for each class it is UniCL's.

    `temperature`: a fixed number, or None for the learner's own logits, whose temperature may then be learned. Raises InputError
    where a number is given and features or class vectors are not.

    Reference: Goyal et al., "Finetune like you pretrain", CVPR 2023; Radford et al., "Learning transferable visual models from natural
    language supervision", ICML 2021; Yang et al., "Unified contrastive learning in image-text-label space", CVPR 2022.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise InputError(f"the temperature multiplies cosines: it must be a positive number or None, found {self.temperature}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        episodes = outcome.episodes
        label = class_labels(episodes, "Contrast")
        known, own = label >= 0, label.clamp_min(0)
        logits = self._logits(outcome)
        to_text = -log_probabilities(logits, episodes).gather(2, own[..., None])[..., 0]
        to_row = -_over_rows(logits, known).gather(2, own[..., None])[..., 0]
        counts = (known[..., None] & (own[..., None] == torch.arange(episodes.ways, device=own.device))).sum(dim=1)  # rows of each text
        share = known / counts.gather(1, own).clamp_min(1).to(logits)
        texts = (counts > 0).sum(dim=1).clamp_min(1)
        return (episode_mean(to_text, known) + (to_row * share).sum(dim=1) / texts) / 2

    def _logits(self, outcome: Outcome) -> Tensor:
        if self.temperature is None:
            return widened(outcome.logits).masked_fill((outcome.episodes.classes < 0)[:, None, :], 0.0)  # whole columns of -inf
        images = widened(needed("features of the query", outcome.query, "Contrast(temperature=...)"))
        texts = widened(needed("class vectors", outcome.class_vectors, "Contrast(temperature=...)")).to(images.dtype)
        return self.temperature * torch.bmm(unit(images), unit(texts[..., : images.shape[-1]]).mT)


def _over_rows(logits: Tensor, known: Tensor) -> Tensor:
    """Log-softmax over the known rows of each episode, for every text; 0 in the other rows."""
    some = known.any(dim=1)[:, None, None]
    logits = logits.masked_fill(~known[..., None], -torch.inf).masked_fill(~some, 0.0)
    return torch.log_softmax(logits, dim=1).masked_fill(~known[..., None], 0.0)
