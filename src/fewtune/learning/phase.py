"""Phase, Adapt, Average, Greedy: what a method is made of. These are descriptions; `engine` and `train` run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.data.views.views import IDENTITY, View
from fewtune.errors import InputError
from fewtune.parts.aggregators import Aggregator, Mean, remembers
from fewtune.parts.heads.head import Head
from fewtune.parts.keep import Keep, Last
from fewtune.parts.losses import ClassAnchor, CrossEntropy, Distil, Loss
from fewtune.parts.merging import Rule
from fewtune.parts.optimizers import SGD, Optimizer
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Learned
from fewtune.tasks.samplers import Sampler

_MEAN, _SGD, _LAST = Mean(), SGD(), Last()


@final
@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training loop: `steps` updates. Each draws `batch` episodes by `sampler` and lets `learner` answer them.

    The loss of an episode is the sum of `losses`. Losses are averaged over the episodes of each task, and `aggregator` combines the tasks.
    `plan` says which weights move and how fast; `optimizer` turns gradients into updates, and its state is new at the start and every
    `restart` steps (0: only at the start). `clip`: the largest norm of a step's gradients, above 0 (None: no limit). `support_view` and
    `query_view`: random augmentation of the rows in training; a row that comes several times in a query is seen in as many views. If the
    learner is an `Adapt`, its own phases say how the support is augmented, and `support_view` is not used. `keep`: which weights the phase
    ends with.

    Raises InputError if `steps` or `restart` is negative, `batch` is below 1, or there is no loss.

    >>> sampler = Sampled(ways=5, shots=1, queries=15)
    >>> phase = Phase(sampler=sampler, learner=Centroid(), plan=everything(1e-3), steps=100)
    >>> phase.batch, phase.optimizer
    (1, SGD(momentum=0.0, nesterov=False, weight_decay=0.0))
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
    clip: float | None = None
    support_view: View = IDENTITY
    query_view: View = IDENTITY
    keep: Keep = _LAST

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1 or self.restart < 0:
            raise InputError(f"expected steps >= 0, batch >= 1 and restart >= 0, found {self.steps}, {self.batch} and {self.restart}.")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip is the largest norm of a step's gradients, a number above 0 or None, found {self.clip}.")
        if not self.losses:
            raise InputError("a phase needs at least one loss, such as losses=(CrossEntropy(),).")


@final
@dataclass(frozen=True, kw_only=True)
class Average:
    """Run each member from one start and average the ends: sum_i weights_i theta_i. An empty member is the start.

    A name that a member has not moved has the start's value. Where edits change weights (LoRA), the changed weights are averaged, not the
    factors. WiSE-FT is `Average(members=((), phases), weights=(1 - a, a))`. Instead of `weights`, a `rule` may say how the ends are merged
    (`fewtune.parts.merging`): `Uniform()`, `TaskArithmetic()`, `Ties()`, `Dare()`, `ModelStock()`, `IsoC()`, `RegMean()`.

    Raises InputError unless there is one weight for each member and the weights sum to 1, or a rule and no weights.

    >>> phase = Phase(sampler=Pooled(batch=64), learner=Linear(rows="class"), plan=everything(1e-3), steps=10)
    >>> Average(members=((), (phase,)), weights=(0.5, 0.5)).weights
    (0.5, 0.5)
    """

    members: tuple[tuple[Step, ...], ...]
    weights: tuple[float, ...] = ()
    rule: Rule | None = None

    def __post_init__(self) -> None:
        if self.rule is not None:
            if self.weights or not self.members:
                raise InputError("Average takes weights or a rule for its members, at least one: give one of the two.")
            return
        if len(self.members) != len(self.weights) or abs(sum(self.weights) - 1) > 1e-9:
            raise InputError(f"expected one weight a member, summing to 1, found {self.weights} for {len(self.members)} members.")


@final
@dataclass(frozen=True, kw_only=True)
class Greedy:
    """A greedy soup: run each member from one start, take them in order of accuracy on validation episodes, and add each one to the
    (uniform) average unless the average's accuracy falls.

    It needs validation episodes, so it can only be a source phase. Raises InputError without a member.
    Reference: Wortsman et al., "Model soups", ICML 2022, recipe 1. Departs: the authors' code requires a strict rise; the paper and this
    code do not.
    """

    members: tuple[tuple[Step, ...], ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("a greedy soup needs at least one member.")


@final
@dataclass(frozen=True, kw_only=True)
class Implicit:
    """An outer gradient through the solution of the inner problem, not through the inner steps: exact if that problem is solved.

    At theta', where the gradient of F(theta', theta) = losses (with Anchor of strength lambda) is zero, a gradient g by theta' becomes
    lambda v by theta, where H v = g and H is the Hessian of F in theta', and -(d2F / dtheta' dphi)^T v by every other shared weight phi.
    H v = g is solved by at most `steps` steps of conjugate gradients, which end when |H v - g| <= `tolerance` |g|; the remaining residual
    is computed anew and reported. `damping`: compute as if the anchor were stronger by this much. That is biased, but it can be solved
    when H is not positive definite because the inner steps ended too early.

    Raises InputError if `steps` is below 1, or `tolerance` or `damping` below 0.

    Reference: Rajeswaran et al., "Meta-learning with implicit gradients", NeurIPS 2019 (5 steps; the authors' code damps by 10, which
    the paper does not say).
    """

    steps: int = 5
    tolerance: float = 1e-10
    damping: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.tolerance >= 0 or not 0 <= self.damping < float("inf"):
            raise InputError(
                f"expected steps of at least 1, tolerance and damping at least 0, found {self.steps}, {self.tolerance} and {self.damping}."
            )


@final
@dataclass(frozen=True, kw_only=True)
class Adapt:
    """Train on each episode's own support by `phases`, then let the head `then` answer with the weights that result.

    `through`: how an outer gradient goes through the inner steps. "unroll": exactly (second order); "first_order": as if the moved weights
    were the start plus a constant; `Implicit()`: through the solution, not the steps (every moved name needs an Anchor).

    Raises InputError if a phase holds another `Adapt`, clips, keeps other weights than the last, has an aggregator that remembers tasks, or
    learns rates without "unroll".

    >>> head = Linear(start="centroid")
    >>> inner = Phase(sampler=Pooled(), learner=head, plan=only("head.*", 0.1), steps=20)
    >>> Adapt(phases=(inner,), then=head).through
    'first_order'
    """

    phases: tuple[Step, ...]
    then: Head
    through: Literal["unroll", "first_order"] | Implicit = "first_order"

    def __post_init__(self) -> None:
        if self.through not in ("unroll", "first_order") and not isinstance(self.through, Implicit):
            raise InputError(f"through is 'unroll', 'first_order' or Implicit(), found {self.through!r}.")
        if isinstance(self.through, Implicit) and (len(self.phases) != 1 or not isinstance(self.phases[0], Phase)):
            raise InputError("implicit gradients are of one inner problem: Adapt(through=Implicit()) has exactly one phase.")
        for phase in phases_of(self.phases):
            if isinstance(phase.learner, Adapt):
                raise InputError("a phase inside Adapt is answered by a head, found another Adapt.")
            learned = any(isinstance(rate, Learned) for _, rate in phase.plan.rules)
            if learned and self.through != "unroll":
                raise InputError("a learned rate gets its gradient through the inner steps: use through='unroll'.")
            if remembers(phase.aggregator):
                raise InputError(
                    f"{type(phase.aggregator).__name__} remembers tasks from step to step, but inside Adapt every episode begins anew: "
                    "use it in a source phase."
                )
            if phase.clip is not None or phase.keep != Last():
                raise InputError("a phase inside Adapt takes plain steps and hands on the last weights, found one with clip or keep.")


Step: TypeAlias = Phase | Average | Greedy
Learner: TypeAlias = Head | Adapt


def distils(phase: Phase) -> bool:
    """Whether a loss of the phase needs a teacher."""
    return any(isinstance(loss, Distil) or (isinstance(loss, ClassAnchor) and loss.agreement) for loss in phase.losses)


def phases_of(steps: tuple[Step, ...]) -> list[Phase]:
    """Every phase, those inside averages too."""
    found: list[Phase] = []
    for step in steps:
        found += [step] if isinstance(step, Phase) else [p for member in step.members for p in phases_of(member)]
    return found


def heads_of(learner: Learner) -> list[Head]:
    """Every head of a learner, the last one first."""
    if not isinstance(learner, Adapt):
        return [learner]
    return [learner.then, *(head for phase in phases_of(learner.phases) for head in heads_of(phase.learner))]
