"""Text: zero-shot, the class whose description is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.lengths import unit
from fewtune.parts.heads.features import LinearForm, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.prompts import USUAL, check_prompts, has_bias, required
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Text:
    """logits = temperature x cosine(f, class vector); the support is not looked at.

    Class vectors [D + 1] with a bias, the words of a masked language model, are compared by temperature x (f . vector + bias); at a
    temperature of 1 these are the model's own logits of the words.

    `prompts`: templates with one `{}` for the class name; the learner embeds them, averages over templates and hands class vectors
    [E, K, D] in. `temperature` is the start of the declared parameter `<name>.temperature`, a plain number. None: the one that the backbone
    was pretrained with (`learning.scaled`), or 100, where CLIP's exp(logit_scale) ends, of a backbone that has none.

    Reference: Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    temperature: float | None = None
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        start = USUAL if self.temperature is None else self.temperature
        return {f"{self.name}.temperature": torch.tensor(start, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": unit class vectors [E, K, D]}, or {"weight": class vectors, "bias": [E, K]} where they hold a bias."""
        vectors = widen(required(class_vectors, "Text"))
        if has_bias(vectors, support.shape[-1]):
            return {"weight": vectors[..., :-1], "bias": vectors[..., -1]}
        return {"weight": unit(vectors)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:
        return LinearForm(state, "bias" not in state, parameters[f"{self.name}.temperature"])
