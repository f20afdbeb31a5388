"""Centroid: the nearest class mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import lengths, unit
from fewtune.parts.heads.class_sums import class_sums, many
from fewtune.parts.heads.features import LinearForm, class_means, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Centroid:
    """Compares a query with the mean p_c of each class's support features.

    cosine: logits = temperature x cosine(f, p_c). `normalize_first` (its default) averages unit vectors; otherwise raw features are
    averaged and the mean is normalised (Xu et al.), which is 0.4-0.6 points worse on PACS 5-shot.
    euclidean: logits = temperature x (|f - m|^2 - |f - p_c|^2), m being the mean of the p_c: the negative squared distance but for a
    term of the query alone, which no softmax sees; so it is linear in f, and a large mean common to all features does not cost digits.
    `normalize_first` (off by default) takes support and query features as unit vectors.

    `temperature`: 10 for cosine, 1 for euclidean where None; it is the start of the declared parameter `<name>.temperature`
    (the plain number, not its logarithm). A class without support has similarity 0 (cosine), or stands at m (euclidean).

    Reference: Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017 (euclidean); Xu et al., "Towards few-shot
    adaptation of foundation models via multitask finetuning", ICLR 2024 (cosine, temperature 10).
    """

    metric: Literal["cosine", "euclidean"] = "cosine"
    temperature: float | None = None
    normalize_first: bool | None = None
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.metric not in ("cosine", "euclidean"):
            raise InputError(f"unknown metric {self.metric!r}: expected 'cosine' or 'euclidean'.")
        cosine = self.metric == "cosine"
        # None is replaced here, so that the text of a spec (which is hashed) spells the number out
        if self.temperature is None:
            object.__setattr__(self, "temperature", 10.0 if cosine else 1.0)
        if self.normalize_first is None:
            object.__setattr__(self, "normalize_first", cosine)

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {f"{self.name}.temperature": torch.tensor(self.temperature, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D]} and, for euclidean, {"bias": [E, K]}; both without the temperature."""
        features = widen(support)
        if many(episodes):
            sums = class_sums(support, episodes, normalize=bool(self.normalize_first), gram=False)
            means, count = sums.means.to(features), sums.count
        else:
            members = one_hot(episodes, features)
            # scaling the members is scaling the features, without a copy of them
            means = class_means(features, members, members / lengths(features) if self.normalize_first else members)
            count = members.sum(dim=1)
        if self.metric == "cosine":
            return {"weight": unit(means)}
        present = (count > 0).to(features)[..., None]
        middle = means.sum(dim=1, keepdim=True) / present.sum(dim=1, keepdim=True).clamp_min(1)
        centred = (means - middle) * present
        return {"weight": 2 * centred, "bias": -(centred * (centred + 2 * middle)).sum(dim=-1)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:
        unit_rows = self.metric == "cosine" or bool(self.normalize_first)
        return LinearForm(state, unit_rows, parameters[f"{self.name}.temperature"])
