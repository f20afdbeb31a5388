"""Evidence: what a selection may look at. Frozen features of the row space, and of the target's support."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.errors import InputError

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Frozen features, and the target's support; queries and test rows have no place here.

    `features`: global rows of the row space [n] -> [n, D]. A row may be asked for more than once, so what computes features should remember
    them. `target` [S, D] and `target_label` [S]: the support's features and classes. Raises InputError where these do not fit together
    or are no numbers.
    """

    features: Callable[[Integers], Tensor]
    target: Float[Tensor, "S D"]
    target_label: Int[Tensor, " S"]

    def __post_init__(self) -> None:
        if not len(self.target):
            raise InputError("expected at least one labelled example of the target to choose tasks by, found none.")

    @cached_property
    def support(self) -> Floats:
        """The support's features [S, D] in float64."""
        return _numbers(self.target, "the target's support")

    @cached_property
    def centre(self) -> Floats:
        """Their mean [D]."""
        centre: Floats = self.support.mean(axis=0)
        return centre

    @cached_property
    def labels(self) -> Integers:
        """The support's classes as 0..K-1 [S]."""
        return np.unique(self.target_label.cpu().numpy(), return_inverse=True)[1].reshape(-1)

    def read(self, rows: Integers) -> Floats:
        """The features of rows [n, D] in float64. Raises InputError for another width than the target's, and for NaN and infinities."""
        found = _numbers(self.features(rows), "candidate tasks")
        if found.shape != (len(rows), self.support.shape[1]):
            shape = " x ".join(map(str, found.shape))
            raise InputError(f"features of {len(rows)} x {self.support.shape[1]} are expected (as the target's), found {shape}.")
        return found


def needed(evidence: Evidence | None, who: str) -> Evidence:
    """The evidence, or InputError where a selection that needs features was given none."""
    if evidence is None:
        raise InputError(
            f"{who} chooses tasks by features of the target's support, and was given none: resolve the choice before training "
            "(Chosen.resolved with evidence), or choose by name (Named)."
        )
    return evidence


def _numbers(features: Tensor, whose: str) -> Floats:
    features = features.detach().cpu()
    if features.dtype == torch.bfloat16:  # NumPy has none
        features = features.float()
    numbers = features.numpy().astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"the features of {whose} hold NaN or infinite numbers: leave out rows that cannot be read.")
    return numbers
