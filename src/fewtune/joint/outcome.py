"""What `adapt` finds out on several label columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from fewtune.joint.held_out import Part
from fewtune.joint.judged import TaskJudged
from fewtune.joint.networks import Network
from fewtune.joint.rows import JointRows
from fewtune.learning.method import Method
from fewtune.models.joint.evaluate import TaskMeasured
from fewtune.models.joint.model import JointBundle
from fewtune.sides.clock import Clock, Stage


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JointJudgement:
    """What held-out rows say of every task and way, before a model is made. `parts`: the folds. `methods`: the networks that took part.
    `sentences`: the verdict; `details`: the rest in words. `clock`: the time that is left."""

    rows: JointRows
    parts: tuple[Part, ...]
    tasks: tuple[TaskJudged, ...]
    methods: Mapping[str, Method]
    sentences: tuple[str, ...]
    details: tuple[str, ...]
    clock: Clock

    @property
    def folds(self) -> int:
        return len(self.parts)

    @property
    def stages(self) -> Sequence[Stage]:
        return self.clock.stages


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JointOutcome:
    """`bundle`: the model. `tasks`: what held-out rows say of every task and way. `measured`: the tasks on the rows of a test split.
    `sentences`: the verdict; `details`: the rest in words. `networks`: those that were trained on all rows, by way.
    """

    rows: JointRows
    bundle: JointBundle
    tasks: tuple[TaskJudged, ...]
    measured: tuple[TaskMeasured, ...]
    sentences: tuple[str, ...]
    details: tuple[str, ...]
    networks: dict[str, Network]
    stages: Sequence[Stage]
    folds: int
