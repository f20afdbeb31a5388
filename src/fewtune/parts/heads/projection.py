"""Projection: rows answered by vectors of a small network on their features, for losses that compare rows with one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Projection:
    """Predictions [E, Q, out]: `layers` linear layers with ReLU between them, the hidden ones as wide as the features; 0 layers: the
    features themselves. The support is not looked at.

    Losses on features (`NtXent`, `SupervisedContrast`, ...) see these vectors in place of the features. The layers, `<name>.0.weight`,
    `<name>.0.bias`, ..., begin at random (He), a function of the name; what is kept in the end is the backbone, without them.
    Reference: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020 (2 layers, 128).
    """

    layers: int = 2
    out: int = 128
    name: str = "projection"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.layers < 0 or self.out < 1:
            raise InputError(f"expected layers of at least 0 and out of at least 1, found {self.layers} and {self.out}.")

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        generator = key(0, "head", self.name).torch_generator()
        found: Parameters = {}
        for layer in range(self.layers):
            rows = self.out if layer == self.layers - 1 else width
            found[f"{self.name}.{layer}.weight"] = torch.randn(rows, width, generator=generator) * (2 / width) ** 0.5
            found[f"{self.name}.{layer}.bias"] = torch.zeros(rows)
        return found

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """Nothing: the layers are trained, not fitted."""
        return {}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:  # noqa: ARG002
        for layer in range(self.layers):
            weight, bias = (parameters[f"{self.name}.{layer}.{part}"].to(query) for part in ("weight", "bias"))
            query = functional.linear(functional.relu(query) if layer else query, weight, bias)
        return query
