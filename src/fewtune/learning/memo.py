"""Memo: features of rows that stay as they are while only other weights move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor


@final
class Memo:
    """Keeps the features of the last weights it was called with, and their graph. Inner loops that move only a head embed a row once."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}
        self._places: dict[int, int] = {}
        self._features: Tensor | None = None

    def find(self, weights: Mapping[str, Tensor], rows: Tensor) -> Tensor | None:
        """Features of `rows` [U], where all of them are known for these very weights; None otherwise."""
        if self._features is None or weights.keys() != self._weights.keys():
            return None
        if any(tensor is not self._weights[name] for name, tensor in weights.items()):
            return None
        places = [self._places.get(row, -1) for row in rows.flatten().tolist()]
        if -1 in places:
            return None
        return self._features[torch.tensor(places, device=self._features.device)].view(*rows.shape, -1)

    def keep(self, weights: Mapping[str, Tensor], rows: Tensor, features: Tensor) -> None:
        """Remember the features [U, D] of these rows and weights, and forget the others. Padding is not kept."""
        self._weights = dict(weights)
        self._features = features.flatten(0, -2)
        self._places = {row: place for place, row in enumerate(rows.flatten().tolist()) if row >= 0}
