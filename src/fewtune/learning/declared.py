"""What the parts of a run declare: the named parameters that are trained beside the backbone's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from fewtune.errors import InputError
from fewtune.learning.ground import RATES, Ground
from fewtune.learning.phase import Adapt, Learner, Phase, Step, heads_of, phases_of
from fewtune.parts.heads.head import Head
from fewtune.parts.losses import AtMost
from fewtune.parts.plan import RESERVED, ResolvedPlan, declared_rates, resolve


def begin(ground: Ground, phases: tuple[Step, ...]) -> dict[str, Tensor]:
    """All weights before the first source phase: the backbone's, those of edits, and every name that a part of the phases declares."""
    weights = ground.start()
    for phase in phases_of(phases):
        weights = {**weights, **_of_heads(ground, phase.learner), **weights}
    for phase in phases_of(phases):
        weights = {**weights, **_of_rates(ground, phase.learner, weights), **weights}
        weights = {**weights, **_of_losses(ground, phase), **weights}
    return weights


def inner_moving(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> set[str]:
    """The names that a learner moves on each episode."""
    if not isinstance(learner, Adapt):
        return set()
    moving: set[str] = set()
    for phase in phases_of(learner.phases):
        moving |= set(_inside(ground, phase, weights).moving)
    return moving


def for_testing(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What test episodes need of trained weights: the backbone's, and what the learner's own heads and rates read.

    A head that equals one of training goes on with what that learned; any other begins at its own settings (`heads.head.stored`).
    """
    heads = tuple(f"{head.name}." for head in heads_of(learner))
    kept = {n: t for n, t in weights.items() if n in ground.names or n.startswith((*heads, f"{RATES}."))}
    own = {**_of_heads(ground, learner), **kept}  # names are checked, also where nothing was trained
    if isinstance(learner, Adapt):
        kept = {**own, **_of_rates(ground, learner, own), **kept}
    return kept


def _of_heads(ground: Ground, learner: Learner) -> dict[str, Tensor]:
    """The parameters that heads start from; equal heads share them. A head that is new in each episode declares nothing here."""
    found: dict[str, Tensor] = {}
    for head in heads_of(learner):
        made = ground.declared(head)
        _check_name(ground, head, {*made, *head.own})
        found = {**made, **found}
    return found


def _of_losses(ground: Ground, phase: Phase) -> dict[str, Tensor]:
    """The multipliers of constraints."""
    device = ground.backbone.machine.device
    return {n: t.to(device) for loss in phase.losses if isinstance(loss, AtMost) for n, t in loss.declare().items()}


def _check_name(ground: Ground, head: Head, made: Collection[str]) -> None:
    """Raises InputError where the backbone or an edit uses the head's name, so that a plan could not tell them apart.

    A backbone may use the reserved names, for plans call its weights otherwise then; but no two tensors may have one name.
    """
    free = head.name in RESERVED
    theirs = [n for n in ground.names if n in made or (n.startswith(f"{head.name}.") and not (free and n not in ground.edit_names))]
    if theirs or head.name == RATES:
        used = f"its weight {min(theirs)!r}" if theirs else "learned rates"
        raise InputError(
            f"a head is called {head.name!r}, which {ground.backbone.name} uses for {used}: give the head another name, "
            "such as name='answer'."
        )


def _of_rates(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(learner, Adapt):
        return {}
    made: dict[str, Tensor] = {}
    for phase in phases_of(learner.phases):
        plan = _inside(ground, phase, weights)
        if loose := [name for name in plan.learned if name not in weights]:
            raise InputError(
                f"a learned rate is of a weight that episodes share, but {loose[0]!r} begins anew in each: use start='shared'."
            )
        made = {**declared_rates(plan, weights, RATES), **made}
    return made


def _inside(ground: Ground, phase: Phase, weights: Mapping[str, Tensor]) -> ResolvedPlan:
    """The plan of a phase inside `Adapt`, where an episode may have a head of its own."""
    own = [name for head in heads_of(phase.learner) for name in head.own]
    return resolve(phase.plan, dict.fromkeys([*ground.movable_inside(weights), *own]), ground.backbone.groups)
