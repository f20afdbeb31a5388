"""Loss: what a learner's answer costs, one number an episode. It looks at an `Outcome` and knows neither networks nor learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What a loss may look at after a learner has answered.

    `logits` [E, Q, K]: the answer (predictions [E, Q, L] of float and multi-hot targets). `query` [E, Q, D]: features of the query rows.
    `class_vectors` [E, K, D]: the label side ([E, K, D + 1] with a bias). `shared`: name -> [...], the weights the episodes started from.
    `own`: name -> [E, ...], the weights that each episode has moved. `teacher` [E, Q, K]: what the start answered to the same query (see
    Distil).
    """

    logits: Float[Tensor, "E Q K"]
    episodes: Episodes
    query: Float[Tensor, "E Q D"] | None = None
    class_vectors: Float[Tensor, "E K V"] | None = None
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    own: Mapping[str, Tensor] = field(default_factory=dict)
    teacher: Float[Tensor, "E Q K"] | None = None


@runtime_checkable
class Loss(Protocol):
    """The axis of losses. Every final class of it passes the laws in tests/laws/test_losses.py.

    A loss is at least float32 and differentiable in all floats of the outcome, except those that it says are constants. The loss of an
    episode does not depend on the rest of the batch. Padding (-1) has no influence; an episode without query rows costs 0.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]: ...
