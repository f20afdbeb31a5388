"""Labelled: a table of features and the rows of it that have labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from fewtune.data.examples import Integers


@final
@dataclass(frozen=True, eq=False)
class Labelled:
    """`features` [*, D], of which the rows `rows` [N] have the `labels` [N] in 0..ways-1."""

    features: Tensor
    rows: Integers
    labels: Integers
    ways: int

    def __len__(self) -> int:
        return len(self.rows)
