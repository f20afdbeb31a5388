"""Blend: the mean of several heads' log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.gaussian import Gaussian
from fewtune.parts.heads.head import Head, Parameters, State, nothing_own
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.ridge import Ridge
from fewtune.parts.heads.several import check_temperatures, declared_by, mean_score, parameters_of
from fewtune.tasks.episodes import Episodes

PARTS: tuple[Head, ...] = (Logistic(), Ridge(penalty="loo", intercept=True), Gaussian())
TEMPERATURES = (0.23, 0.12, 1.0)  # medians of what held-out folds chose, MobileNetV2 and MiniLM, training classes of seven data sets


@final
@dataclass(frozen=True, kw_only=True)
class Blend:
    """logits = mean over `heads` of their logits / their temperature, which is the mean of their log-probabilities but for a constant.

    `temperatures` > 0, one a head. `adapt` chooses them on held-out folds; by default they are fixed numbers for the default heads and 1
    for others. Heads that read class names, or that begin each episode anew, cannot take part.

    Declared parameters: those of each head, as `<name>.<its place>.<parameter>`.
    """

    heads: tuple[Head, ...] = PARTS
    temperatures: tuple[float, ...] = ()
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(self.heads))
        object.__setattr__(
            self, "temperatures", tuple(self.temperatures) or (TEMPERATURES if self.heads == PARTS else (1.0,) * len(self.heads))
        )
        if not self.heads:
            raise InputError("expected at least one head to blend, found none.")
        for head in self.heads:
            if head.reads_classes or head.own or not head.reads_support or not head.differentiable:
                raise InputError(f"{type(head).__name__} cannot be blended: expected heads such as Logistic, Ridge, Gaussian or Centroid.")
        check_temperatures(self.heads, self.temperatures)

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:
        return declared_by(self.heads, self.name, width, classes)

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """The state of each head, as "<its place>.<key>"."""
        return {
            f"{place}.{key}": value
            for place, head in enumerate(self.heads)
            for key, value in head.fit(support, episodes, class_vectors, parameters_of(head, place, self.name, parameters)).items()
        }

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        return mean_score(self.heads, self.temperatures, self.name, state, lambda _: query, parameters)
