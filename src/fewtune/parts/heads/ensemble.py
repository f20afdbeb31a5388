"""Ensemble: several heads, each of which reads its own part of the features, and the mean of their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Head, Parameters, State, nothing_own
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.several import check_temperatures, declared_by, mean_score, parameters_of
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """logits = mean over `heads` of the logits of head i on part i of the features / temperature i: the mean of their log-probabilities but
    for a constant.

    Features [*, D] are M parts of D / M numbers side by side, as `backbones.beside` makes them, one part for each of the M heads; class
    vectors likewise. `temperatures` > 0, one a head, 1 by default. Heads that read class names must share their prompts; heads that
    begin each episode anew cannot take part. Raises InputError where D is no multiple of M.

    Declared parameters: those of each head, as `<name>.<its place>.<parameter>`.
    """

    heads: tuple[Head, ...] = (Logistic(),)
    temperatures: tuple[float, ...] = ()
    name: str = "head"

    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(self.heads))
        object.__setattr__(self, "temperatures", tuple(self.temperatures) or (1.0,) * len(self.heads))
        if not self.heads:
            raise InputError("expected at least one head in an ensemble, found none.")
        for head in self.heads:
            if head.own or not head.reads_support or not head.differentiable:
                raise InputError(f"{type(head).__name__} cannot be in an ensemble: expected heads such as Logistic, Ridge or Blend.")
        check_temperatures(self.heads, self.temperatures)
        if len({tuple(getattr(head, "prompts", ())) for head in self.heads if head.reads_classes}) > 1:
            raise InputError("the heads of an ensemble that read class names must share their prompts.")

    @property
    def reads_classes(self) -> bool:
        """Whether some head reads class vectors."""
        return any(head.reads_classes for head in self.heads)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The templates through which class names are read."""
        return next((tuple(getattr(head, "prompts", ())) for head in self.heads if head.reads_classes), ())

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:
        return declared_by(self.heads, self.name, self._width(width), classes)

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """The state of each head, as "<its place>.<key>"."""
        found: State = {}
        for place, head in enumerate(self.heads):
            vectors = None if class_vectors is None or not head.reads_classes else self._part(place, class_vectors)
            state = head.fit(self._part(place, support), episodes, vectors, parameters_of(head, place, self.name, parameters))
            found |= {f"{place}.{key}": value for key, value in state.items()}
        return found

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        return mean_score(self.heads, self.temperatures, self.name, state, lambda place: self._part(place, query), parameters)

    def _width(self, width: int) -> int:
        if width % len(self.heads):
            raise InputError(f"expected features of {len(self.heads)} parts of one width, found {width} numbers.")
        return width // len(self.heads)

    def _part(self, place: int, features: Tensor) -> Tensor:
        each = self._width(features.shape[-1])
        return features[..., place * each : (place + 1) * each]
