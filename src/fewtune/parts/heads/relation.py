"""Relation: a small network says how much a query and a class belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.lengths import unit
from fewtune.parts.heads.features import class_means, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Relation:
    """logit_c = w . gelu(P p_c + F f + b), p_c the mean of the class's unit features, f the unit query; `width` hidden units.

    The declared parameters (`class.weight`, `query.weight`, `bias`, `out.weight`) begin at random, a function of `seed`, so the head means
    nothing before episodes have trained it.
    Reference: Sung et al., "Learning to compare: relation network for few-shot learning", CVPR 2018. Departs: features are vectors, so the
    module is one hidden layer; cross-entropy instead of squared errors; gelu instead of relu.
    """

    width: int = 64
    seed: int = 0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    begin = nothing_own

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"Relation has at least 1 hidden unit, found width {self.width}.")

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        made = {}
        for part, shape in (("class.weight", (self.width, width)), ("query.weight", (self.width, width)), ("out.weight", (self.width,))):
            generator = key(self.seed, "relation", part).torch_generator()
            made[f"{self.name}.{part}"] = torch.randn(shape, generator=generator) * (1.0 if len(shape) > 1 else 4 / self.width**0.5)
        return {**made, f"{self.name}.bias": torch.zeros(self.width)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"class": what each class adds to the hidden units [E, K, width]}."""
        features = widen(support)
        members = one_hot(episodes, features)
        means = class_means(unit(features), members, members)
        return {"class": means @ parameters[f"{self.name}.class.weight"].to(features).T}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        features = widen(query)
        mine = {part: parameters[f"{self.name}.{part}"].to(features) for part in ("query.weight", "bias", "out.weight")}
        asked = unit(features) @ mine["query.weight"].T + mine["bias"]
        hidden = functional.gelu(asked[:, :, None] + state["class"].to(features)[:, None])  # [E, Q, K, width]
        return (hidden @ mine["out.weight"]).to(query.dtype)
