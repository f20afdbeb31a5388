"""What the parts of a run declare: the named parameters that are trained beside the backbone's own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fewtune.learning.ground import RATES, Ground
from fewtune.learning.phase import Adapt, Learner, Step, heads_of, phases_of
from fewtune.parts.heads.linear import Linear
from fewtune.parts.plan import declared_rates, resolve


def begin(ground: Ground, phases: tuple[Step, ...]) -> dict[str, Tensor]:
    """All weights before the first source phase: the backbone's, those of edits, and every name that a part of the phases declares."""
    weights = ground.start()
    for phase in phases_of(phases):
        weights = {**weights, **_of_heads(ground, phase.learner), **weights}
    for phase in phases_of(phases):
        weights = {**weights, **_of_rates(ground, phase.learner, weights), **weights}
    return weights


def inner_moving(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> set[str]:
    """The names that a learner moves on each episode."""
    if not isinstance(learner, Adapt):
        return set()
    moving: set[str] = set()
    for phase in phases_of(learner.phases):
        heads = [f"{head.name}.{part}" for head in heads_of(phase.learner) if isinstance(head, Linear) for part in ("weight", "bias")]
        names = dict.fromkeys([*ground.movable_inside(weights), *heads])
        moving |= set(resolve(phase.plan, names, ground.backbone.groups).moving)
    return moving


def for_testing(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What test episodes need of trained weights: the backbone's, and what the learner's own heads and rates read."""
    heads = tuple(f"{head.name}." for head in heads_of(learner))
    kept = {n: t for n, t in weights.items() if n in ground.names or n.startswith((*heads, f"{RATES}."))}
    if isinstance(learner, Adapt):
        own = {**_of_heads(ground, learner), **kept}
        kept = {**own, **_of_rates(ground, learner, own), **kept}
    return kept


def _of_heads(ground: Ground, learner: Learner) -> dict[str, Tensor]:
    """What heads start from; those of one name share their parameters. A head that each episode begins anew declares nothing here."""
    found: dict[str, Tensor] = {}
    for head in heads_of(learner):
        if not (isinstance(head, Linear) and head.rows == "place" and head.ways == 0):
            found = {**ground.declared(head), **found}
    return found


def _of_rates(ground: Ground, learner: Learner, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(learner, Adapt):
        return {}
    made: dict[str, Tensor] = {}
    for phase in phases_of(learner.phases):
        plan = resolve(phase.plan, ground.movable_inside(weights), ground.backbone.groups)
        made = {**declared_rates(plan, weights, RATES), **made}
    return made
