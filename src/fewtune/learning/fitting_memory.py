"""Fitting a training step into memory: in how many parts its episodes are answered.

Answering in parts is exact and costs little where episodes share few rows; where they share many, or one episode alone is too large, it
is better to embed all rows together and compute their activations again, which `Backbone.embed` does by itself. An unrolled inner loop
keeps what it needs for its second derivative in any case: there an episode at a time is all that can be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.activations import room
from fewtune.learning.budget import visits_of
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Learner, Phase, heads_of
from fewtune.parts.aggregators import form_of
from fewtune.tasks.episodes import Episodes

AGAIN = 4 / 3  # what computing activations again costs beside keeping them
UNROLLED = 3  # passes that an unrolled inner step keeps: forward, backward, and what the second derivative needs


def parts_of(ground: Ground, phase: Phase, weights: Mapping[str, Tensor], episodes: Episodes) -> int:
    """In how many parts a step's episodes are answered: as the machine says, else so many that activations of each fit into its room.

    1 where that would cost more than to compute activations again.
    """
    machine = ground.backbone.machine
    if machine.accumulate:
        return machine.accumulate
    each = ground.row_bytes(weights, _rows(phase.learner, episodes))
    fits = room(machine) / max(1, each)  # rows
    if isinstance(phase.learner, Adapt):  # one after another anyway
        return max(1, min(len(episodes), ceil(_kept_rows(phase.learner, episodes) / fits)))
    whole = len(_rows(phase.learner, episodes))
    if whole <= fits:
        return 1
    if (
        phase.aggregator.needs == "gram" and form_of(phase.aggregator) == "exact"
    ):  # every task has a backward pass of its own, of no more than its part
        return len(episodes)
    for parts in range(ceil(whole / fits), len(episodes) + 1):
        counts = [len(_rows(phase.learner, episodes[part])) for part in torch.arange(len(episodes)).tensor_split(parts)]
        if sum(counts) > AGAIN * whole:
            break
        if max(counts) <= fits:
            return parts
    return 1


def _kept_rows(adapt: Adapt, episodes: Episodes) -> float:
    """Rows whose activations are kept at once for episodes that adapt, counted once for each time that they are embedded."""
    return visits_of(adapt, episodes) * (UNROLLED if adapt.through == "unroll" else 1)


def _rows(learner: Learner, episodes: Episodes) -> np.ndarray:
    """The rows that episodes ask for, each once."""
    asked = [episodes.query.reshape(-1)]
    if isinstance(learner, Adapt) or heads_of(learner)[0].reads_support:
        asked.append(episodes.support.reshape(-1))
    found = np.unique(torch.cat(asked).cpu().numpy())
    return found[found >= 0]
