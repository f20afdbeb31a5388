"""Phase, Adapt, Average: what a method is made of (DESIGN, section 1). Specs only; the one engine runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.parts.aggregators import Aggregator, Mean
from fewtune.parts.heads.head import Head
from fewtune.parts.losses import CrossEntropy, Loss
from fewtune.parts.optimizers import SGD, Optimizer
from fewtune.parts.plan import Plan
from fewtune.tasks.samplers import Sampler

_MEAN, _SGD = Mean(), SGD()


@final
@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training loop: `steps` steps on `batch` episodes each, of `sampler`, answered by `learner`.

    A step's loss is the sum of `losses`, averaged over the episodes of each task and put together by `aggregator`; `plan` says what moves
    and how fast, `optimizer` how; its state is new at the start and every `restart` steps (0: never again).
    """

    sampler: Sampler
    learner: Learner
    plan: Plan
    steps: int
    batch: int = 1
    losses: tuple[Loss, ...] = (CrossEntropy(),)
    aggregator: Aggregator = _MEAN
    optimizer: Optimizer = _SGD
    restart: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1 or self.restart < 0:
            raise InputError(f"expected steps >= 0, batch >= 1 and restart >= 0, found {self.steps}, {self.batch} and {self.restart}.")


@final
@dataclass(frozen=True, kw_only=True)
class Average:
    """Run each member from one start and average the ends: sum_i weights_i theta_i. An empty member is the start.

    A name that a member has not moved counts at the start's value. WiSE-FT is `Average(members=((), phases), weights=(1 - a, a))`.
    """

    members: tuple[tuple[Step, ...], ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.members) != len(self.weights) or abs(sum(self.weights) - 1) > 1e-9:
            raise InputError(f"expected one weight a member, summing to 1, found {self.weights} for {len(self.members)} members.")


@final
@dataclass(frozen=True, kw_only=True)
class Adapt:
    """Move parameters on each episode's own support by `phases`, then let `then` answer with them.

    `through`: how an outer gradient crosses the inner steps. "unroll": exactly (second order); "first_order": as if the moved weights
    were the start plus a constant.
    """

    phases: tuple[Step, ...]
    then: Head
    through: Literal["unroll", "first_order"] = "first_order"


Step: TypeAlias = Phase | Average
Learner: TypeAlias = Head | Adapt
