"""NamedLogistic: logistic regression to which the name of each class is a few more examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.features import LinearForm, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.prompts import check_prompts, directions
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class NamedLogistic:
    """`Logistic` on unit features, fitted on the support and on the class vector of each class, which counts as `names` examples of it.

    `names` >= 1, `C` in (0, inf). A class without support is answered by its name alone. `prompts` as in Text. Equals scikit-learn's
    LogisticRegression(C) on the same rows.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    C: float = 1.0
    names: int = 2
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        Logistic(C=self.C)
        if not (isinstance(self.names, int) and self.names >= 1):
            raise InputError(f"a class name counts as a whole number of examples, 1 or more, found {self.names}.")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """{"weight": [E, K, D], "bias": [E, K]}."""
        vectors = directions(class_vectors, "NamedLogistic", support.shape[-1]).to(widen(support))
        present = episodes.classes >= 0
        place = torch.arange(present.shape[1], device=present.device).expand_as(present).masked_fill(~present, -1)
        named = replace(
            episodes,
            support=torch.cat([episodes.support, *[place] * self.names], dim=1),
            support_label=torch.cat([episodes.support_label, *[place] * self.names], dim=1),
        )
        rows = torch.cat([widen(support), *[vectors * present[..., None]] * self.names], dim=1)
        return Logistic(C=self.C).fit(rows, named, None, parameters)

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, True)
