"""From embeddings and numbers to features of one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Integers

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEAST = 1e-6  # a part of an embedding that varies less than this, of its own size or of 1, says nothing and is 0
LEAST_NUMBER = 1e-9  # the same for a column of numbers, of its largest number: its unit may be small
FARTHEST = 1e9  # standard deviations: no feature is farther from 0, so that outputs stay finite


@final
@dataclass(frozen=True, eq=False)
class Scaling:
    """features = (x - mean) / spread, x = (embedding, numbers with `fill` where they are missing, 1 where a number is missing).

    `fill` [M]: the mean of each column of numbers. `flagged`: the columns of numbers that get a flag. `mean`, `spread` [D]. All of it was
    measured on the rows to learn from.
    """

    fill: Tensor
    flagged: tuple[int, ...]
    mean: Tensor
    spread: Tensor

    def __call__(self, embedding: Tensor, numbers: Floats) -> Tensor:
        """Features [N, D], float32; a row whose embedding is NaN has features of NaN."""
        joined = _joined(embedding, numbers, self.fill, self.flagged)
        features = (joined - self.mean.to(joined.device)) / self.spread.to(joined.device)
        return features.clamp(-FARTHEST, FARTHEST).float()


def measured_scaling(embedding: Tensor, numbers: Floats, rows: Integers) -> Scaling:
    """The scaling that the features of some rows ask for: each has mean 0 and standard deviation 1 there, constants are 0."""
    mine = numbers[rows]
    known = ~np.isnan(mine)
    fill = torch.from_numpy(np.where(known, mine, 0.0).sum(axis=0) / known.sum(axis=0).clip(min=1))
    flagged = tuple(np.flatnonzero(~known.all(axis=0)).tolist())
    joined = _joined(embedding[rows], mine, fill, flagged)
    mean, spread = joined.mean(dim=0), joined.std(dim=0, correction=0)
    least = LEAST * mean.abs().clamp_min(1.0)
    least[embedding.shape[1] :] = LEAST_NUMBER * joined[:, embedding.shape[1] :].abs().amax(dim=0)
    return Scaling(fill, flagged, mean, torch.where(spread > least, spread, torch.inf))


def _joined(embedding: Tensor, numbers: Floats, fill: Tensor, flagged: tuple[int, ...]) -> Tensor:
    given = torch.from_numpy(numbers).to(embedding.device)
    missing = given.isnan()
    return torch.cat([embedding.double(), torch.where(missing, fill.to(given.device), given), missing[:, list(flagged)].double()], dim=1)
