"""Paired: items and their texts, compared as contrastive pretraining compares them, by a learned scale and an optional offset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.parts.heads.features import linear, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.prompts import check_prompts, required
from fewtune.tasks.episodes import Episodes

MOST = 100.0  # the largest temperature, as in CLIP


@final
@dataclass(frozen=True, kw_only=True)
class Paired:
    """logits = t x cosine(f, class vector) + b, with t = exp(`<name>.log_temperature`) and, with an `offset`, b = `<name>.offset`.

    Both are declared, so that training may move them; the logarithm makes steps of t relative to its size, and t stays at most 100.
    `temperature`: where t begins, above 0 (CLIP: 1 / 0.07; SigLIP: 10). `offset`: where b begins (SigLIP: -10); None: there is none. The
    support is not looked at. `prompts`: as in `Text`; "{}" where the class names are whole captions.

    Reference: Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, figure 3; Zhai et al.,
    "Sigmoid loss for language image pre-training", ICCV 2023.
    """

    prompts: tuple[str, ...] = ("{}",)
    temperature: float = 1 / 0.07
    offset: float | None = None
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        if not 0 < self.temperature <= MOST:
            raise InputError(
                f"the temperature multiplies cosines: expected a number above 0 and at most {MOST:g}, found {self.temperature}."
            )

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        scale = {f"{self.name}.log_temperature": torch.tensor(math.log(self.temperature), dtype=torch.float32)}
        return scale if self.offset is None else scale | {f"{self.name}.offset": torch.tensor(self.offset, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": unit class vectors [E, K, D]}."""
        return {"weight": unit(widen(required(class_vectors, "Paired")))}

    def scale(self, parameters: Parameters) -> float:
        """t, the number that multiplies cosines."""
        return min(float(parameters[f"{self.name}.log_temperature"].exp()), MOST)

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        scale = parameters[f"{self.name}.log_temperature"].to(query).clamp_max(math.log(MOST)).exp()
        logits = scale * linear(state, query, normalize=True)
        return logits if self.offset is None else logits + parameters[f"{self.name}.offset"].to(query)
