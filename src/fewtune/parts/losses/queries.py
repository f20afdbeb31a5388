"""What losses on the query share: which rows and classes are real, log-probabilities, the mean over an episode."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fewtune.errors import InputError
from fewtune.tasks.episodes import Episodes


def widened(values: Tensor) -> Tensor:
    """Half precisions as float32, the rest as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def class_labels(episodes: Episodes, loss: str) -> Int[Tensor, "E Q"]:
    """The query's class integers, -1 where there is none and in rows of padding. Raises InputError for float and multi-hot labels."""
    label = episodes.query_label
    if label.is_floating_point():
        raise InputError(f"{loss} expects class labels, found float targets: use SquaredError.")
    if label.ndim != 2:
        raise InputError(f"{loss} expects one class a row, found multi-hot labels: use BinaryCrossEntropy.")
    return label.masked_fill(episodes.query < 0, -1)


def log_probabilities(logits: Float[Tensor, "E Q K"], episodes: Episodes) -> Float[Tensor, "E Q K"]:
    """Log-softmax over each episode's real classes; 0 at padded classes (so that sums and products leave them out) and rows."""
    absent = (episodes.classes < 0)[:, None, :]
    padding = (episodes.query < 0)[..., None]
    # padding is overwritten before anything is computed: neither its values nor an infinite gradient of theirs can be seen
    known = widened(logits).masked_fill(padding, 0.0).masked_fill(absent, -torch.inf)
    return torch.log_softmax(known, dim=-1).masked_fill(absent | padding, 0.0)


def real_classes(episodes: Episodes, like: Tensor) -> Float[Tensor, "E 1 K"]:
    """1 for the classes of an episode, 0 for padding."""
    return (episodes.classes >= 0)[:, None, :].to(like.dtype)


def episode_mean(values: Float[Tensor, "E ..."], real: Bool[Tensor, "E ..."]) -> Float[Tensor, " E"]:
    """The mean of an episode's real entries; 0 where there is none."""
    kept = values.masked_fill(~real, 0.0).flatten(1)
    return kept.sum(dim=1) / real.flatten(1).sum(dim=1).clamp_min(1)


def needed(part: str, given: Tensor | None, loss: str) -> Tensor:
    """A part of the outcome that a loss cannot do without. Raises InputError where it is absent."""
    if given is None:
        raise InputError(f"{loss} needs {part}, but this learner gives none.")
    return given
