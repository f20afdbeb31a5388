"""A model of several label columns: how embeddings and numbers become features, and an answer for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from scipy.special import expit, log_softmax
from torch import Tensor

from fewtune.learning.method import Method
from fewtune.models.bundle import BackboneRecord
from fewtune.models.finetuned_weights import Change
from fewtune.models.joint.scaling import Scaling
from fewtune.parts.heads.head import Parameters, State
from fewtune.statistics import Interval
from fewtune.statistics.metrics import METRICS, Metric

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
COVERED = 0.9  # share of rows whose number lies between `low` and `high`


@final
@dataclass(frozen=True, eq=False)
class Fitted:
    """One task's answer: outputs = head.score(state, features, parameters).

    `unit`: the head reads the features divided by the root of their number, so that their mean squared length is 1 (heads with a penalty
    try strengths that suit this length). `network`: the place of the network that it is part of, whose tasks have the same `parameters`;
    None for a head of its own. `backbone`: the place of the change of the backbone (`JointBundle.changes`) whose features it reads.
    """

    method: Method
    state: State
    parameters: Parameters
    unit: bool = True
    network: int | None = None
    backbone: int = 0

    def outputs(self, features: Tensor) -> Floats:
        """[N, outputs] of rows with features [N, D]."""
        given = unit(features) if self.unit else features
        with torch.inference_mode():
            found: Floats = self.method.head.score(self.state, given[None], self.parameters)[0].double().cpu().numpy()
        return found


def unit(features: Tensor) -> Tensor:
    """Features [N, D] of standard deviation 1, with a mean squared length of 1."""
    scaled: Tensor = features / max(features.shape[-1], 1) ** 0.5
    return scaled


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TaskModel:
    """What answers one label column.

    `kind`: class, float or multi; `names`: of its classes or labels. `scale`: (center, spread) of its numbers. `way`: what answers it, in
    words. Class outputs / `temperature` are calibrated logits. `half`: of numbers, 90% of held-out answers were at most so far from the
    truth. `metric`: what it is judged by, `expected` on rows it has not seen, and `guessing`, the value of always giving the same answer.
    """

    name: str
    kind: Literal["class", "float", "multi"]
    names: tuple[str, ...]
    scale: tuple[float, float]
    way: str
    fitted: Fitted
    temperature: float = 1.0
    half: float = float("nan")
    metric: str = "accuracy"
    expected: Interval | None = None
    guessing: float = float("nan")
    rows: int = 0

    @property
    def outputs(self) -> int:
        return len(self.names) if self.kind != "float" else 1

    @property
    def judged(self) -> Metric:
        return METRICS[self.metric]

    def answers(self, features: Tensor) -> Floats:
        """Probabilities [N, K] of classes, numbers [N], or the probability [N, L] of each label."""
        return answers_of(self.kind, self.fitted.outputs(features), self.scale, self.temperature)


def answers_of(kind: str, outputs: Floats, scale: tuple[float, float], temperature: float = 1.0) -> Floats:
    """What outputs [N, L] of a task of this kind say (see `TaskModel.answers`); NaN where they are."""
    if kind == "float":
        found: Floats = outputs[:, 0] * scale[1] + scale[0]
    elif kind == "multi":
        found = expit(outputs)
    else:
        found = np.exp(log_softmax(outputs / temperature, axis=1))
    return found


@final
@dataclass(frozen=True, eq=False)
class JointSupport:
    """What the heads of class columns were fitted on: `features` [n, D] of the learned rows, and the `labels` [n] of each such column by
    its place (-1: not labelled there). A new class is added to it.
    """

    features: Tensor
    labels: Mapping[int, np.ndarray[Any, np.dtype[np.int64]]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JointBundle:
    """A model of several label columns. `backbone`: what embeds its photos or texts, None where numbers are its only input.

    `numbers`: the columns of numbers that it reads, `input` the column of photos, texts or embeddings where it was named. `learned`: the
    digests (16 bytes, see `row_digests`) of the rows it was learned from. `facts`: what was measured, for people. `read`: the digest of the
    record that it was read from, "" for a new one. `packed`: the folder of its packed backbone. `changes`: what finetuning changed in the
    backbone, None for the backbone as it came; tasks name the one whose features they read. `support`: of class columns that a head
    answers, None where there are none.
    """

    backbone: BackboneRecord | None
    numbers: tuple[str, ...]
    scaling: Scaling
    tasks: tuple[TaskModel, ...]
    learned: frozenset[bytes] = frozenset()
    input: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    read: str = ""
    packed: Path | None = None
    changes: tuple[Change | None, ...] = (None,)
    support: JointSupport | None = None

    @cached_property
    def width(self) -> int:
        """The number of features."""
        return len(self.scaling.mean)

    @property
    def places(self) -> tuple[int, ...]:
        """The places of the changes of the backbone that some task reads."""
        return tuple(sorted({task.fitted.backbone for task in self.tasks}))

    @property
    def noun(self) -> str:
        return "row" if self.backbone is None else {"image": "photo", "text": "text"}.get(self.backbone.modality, "row")
