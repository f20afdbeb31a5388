"""Source phases: the engine on shared weights, with torch.optim."""

from __future__ import annotations

from torch import Tensor

from fewtune.keys import Key
from fewtune.learning.engine import Weights, averaged, direction, phases_of
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase, Step
from fewtune.parts.heads.linear import Linear
from fewtune.parts.outer import outer
from fewtune.parts.plan import resolve
from fewtune.tasks.task import Tasks


def train(ground: Ground, phases: tuple[Step, ...], tasks: Tasks, key: Key) -> dict[str, Tensor]:
    """The weights after source phases: the backbone's and every name its parts declared. Keyed, so it can be repeated."""
    weights: dict[str, Tensor] = {**ground.backbone.start(), **declared(ground, phases)}
    for number, step in enumerate(phases):
        weights = _run(ground, step, weights, tasks, key.child("source", number))
    return weights


def declared(ground: Ground, phases: tuple[Step, ...]) -> dict[str, Tensor]:
    """What the heads of source phases start from; heads of one name share their parameters."""
    found: dict[str, Tensor] = {}
    for phase in phases_of(phases):
        learner = phase.learner
        heads = [learner.then, *(p.learner for p in phases_of(learner.phases))] if isinstance(learner, Adapt) else [learner]
        for head in heads:
            if isinstance(head, Adapt) or (isinstance(head, Linear) and head.rows == "place" and head.ways == 0):
                continue  # an inner Adapt, or a head that each episode begins anew
            found = {**ground.declared(head), **found}
    return found


def _run(ground: Ground, step: Step, weights: Weights, tasks: Tasks, key: Key) -> dict[str, Tensor]:
    if not isinstance(step, Phase):
        return averaged(step, weights, key, lambda inner, start, its: _run(ground, inner, start, tasks, its))
    plan = resolve(step.plan, ground.movable(weights), ground.backbone.groups)
    leaves = {n: weights[n].detach().clone().requires_grad_() for n in plan.moving}
    fixed = {n: t for n, t in weights.items() if n not in leaves}
    optimizer = outer(step.optimizer, leaves, plan)
    for number in range(step.steps):
        if step.restart and number and number % step.restart == 0:
            optimizer = outer(step.optimizer, leaves, plan)
        episodes = step.sampler.draw(tasks, key.child("draw"), number * step.batch, step.batch)
        gradients = direction(ground, step, {**fixed, **leaves}, leaves, episodes, key.child("step", number), origin=weights)
        optimizer.step({n: g.detach() for n, g in gradients.items()}, number, step.steps)
    return {n: leaves[n].detach() if n in leaves else t for n, t in weights.items()}
