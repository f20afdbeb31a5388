"""The one engine: answering episodes, taking a step, running a phase; outside (shared weights) and inside `Adapt` (an episode's own)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Average, Learner, Phase, Step
from fewtune.learning.support import support_tasks
from fewtune.parts.aggregators import gram, projection_order, task_losses
from fewtune.parts.heads.head import answer
from fewtune.parts.heads.linear import Linear
from fewtune.parts.inner import start, update
from fewtune.parts.losses import Outcome
from fewtune.parts.plan import resolve
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks

Weights = Mapping[str, Tensor]


def respond(ground: Ground, learner: Learner, weights: Weights, episodes: Episodes, key: Key) -> Outcome:
    """A learner's answer to episodes, by the weights at hand; gradients flow to whatever of them requires one."""
    if isinstance(learner, Adapt):
        return _adapted(ground, learner, weights, episodes, key)
    rows = torch.cat([episodes.support, episodes.query], dim=1)
    features = ground.embed(weights, rows)
    here = episodes.to(features.device)
    S = episodes.support.shape[1]
    support, query = features[:, :S], features[:, S:]
    vectors = ground.class_vectors(learner, weights, episodes)
    mine = {n: t for n, t in weights.items() if n.startswith(f"{learner.name}.")}
    logits = answer(learner, support, query, here, vectors, {**ground.declared(learner), **mine})
    return Outcome(logits=logits, episodes=here, query=query, class_vectors=vectors, shared=weights)


def _adapted(ground: Ground, adapt: Adapt, weights: Weights, episodes: Episodes, key: Key) -> Outcome:
    """Every episode with its own weights, one after another."""
    parts, owns = [], []
    for e in range(len(episodes)):
        one = episodes[e : e + 1]
        own = tune(ground, adapt, weights, one, key.child("episode", e))
        parts.append(respond(ground, adapt.then, {**weights, **own}, one, key))
        owns.append(own)
    own = {n: torch.stack([o[n] for o in owns]) for n in owns[0]}
    query = [p.query for p in parts if p.query is not None]
    return Outcome(
        logits=torch.cat([p.logits for p in parts]),
        episodes=episodes.to(parts[0].logits.device),
        query=torch.cat(query),
        shared=weights,
        own=own,
    )


def tune(ground: Ground, adapt: Adapt, weights: Weights, episode: Episodes, key: Key) -> dict[str, Tensor]:
    """The weights that one episode [1, ...] moves on its support, by name; connected to `weights` as `adapt.through` says."""
    unrolled = adapt.through == "unroll" and torch.is_grad_enabled()
    with torch.enable_grad():
        begun = {**weights, **_own_heads(ground, adapt.phases, weights, episode)}
        tasks = support_tasks(episode)
        ended = begun
        for number, step in enumerate(adapt.phases):
            ended = run_inside(ground, step, ended, tasks, key.child("phase", number), unrolled)
    own = {n: t for n, t in ended.items() if n not in weights or t is not weights[n]}
    if unrolled:
        return own
    return {n: begun[n] + (t - begun[n]).detach() if n in weights else t.detach() for n, t in own.items()}


def _own_heads(ground: Ground, steps: tuple[Step, ...], weights: Weights, episode: Episodes) -> dict[str, Tensor]:
    """New heads of places for this episode, for the inner phases that start their own."""
    made: dict[str, Tensor] = {}
    for phase in phases_of(steps):
        head = phase.learner
        if not isinstance(head, Linear) or head.rows != "place" or f"{head.name}.weight" in made:
            continue
        if head.start == "shared":
            if f"{head.name}.weight" not in weights:
                raise InputError(f"head {head.name!r} starts from shared weights, but no source phase trained it: use another start.")
            continue
        support = ground.embed(weights, episode.support) if head.start == "centroid" else torch.zeros(1, 0, ground.width)
        made |= head.begin(support.detach().to(ground.backbone.machine.device), episode.to(ground.backbone.machine.device))
    return made


def phases_of(steps: tuple[Step, ...]) -> list[Phase]:
    """Every phase, those inside averages too."""
    found: list[Phase] = []
    for step in steps:
        found += [step] if isinstance(step, Phase) else [p for member in step.members for p in phases_of(member)]
    return found


def run_inside(ground: Ground, step: Step, weights: Weights, tasks: Tasks, key: Key, unrolled: bool) -> dict[str, Tensor]:
    """One step of an `Adapt`: out of place, so that gradients may cross it."""
    if isinstance(step, Average):
        return averaged(step, weights, key, lambda inner, start, its: run_inside(ground, inner, start, tasks, its, unrolled))
    plan = resolve(step.plan, ground.movable(weights), ground.backbone.groups)
    current = dict(weights)
    state = start(step.optimizer, {n: current[n] for n in plan.moving})
    for number in range(step.steps):
        if step.restart and number % step.restart == 0:
            state = start(step.optimizer, {n: current[n] for n in plan.moving})
        leaf = {n: t if unrolled and t.requires_grad else t.detach().requires_grad_() for n, t in _of(current, plan.moving).items()}
        episodes = step.sampler.draw(tasks, key.child("draw"), number * step.batch, step.batch)
        gradients = direction(
            ground, step, {**current, **leaf}, leaf, episodes, key.child("step", number), origin=weights, create_graph=unrolled
        )
        moved, state = update(step.optimizer, leaf, gradients, state, plan.rates_at(number, step.steps))
        current |= moved if unrolled else {n: t.detach() for n, t in moved.items()}
    return current


def _of(weights: Weights, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {n: weights[n] for n in names}


def averaged(step: Average, weights: Weights, key: Key, run: Callable[[Step, Weights, Key], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Every member from the same start, and the average of their ends; `run` does one step of a member."""
    ends = []
    for number, member in enumerate(step.members):
        end: Weights = weights
        for place, inner in enumerate(member):
            end = run(inner, end, key.child(number, place))
        ends.append(end)
    return average(ends, step.weights)


def average(ends: list[Weights], weights: tuple[float, ...]) -> dict[str, Tensor]:
    """sum_i w_i theta_i by name."""
    return {n: sum((w * end[n] for w, end in zip(weights, ends, strict=True)), torch.zeros_like(ends[0][n])) for n in ends[0]}


def direction(
    ground: Ground,
    phase: Phase,
    weights: Weights,
    leaves: Mapping[str, Tensor],
    episodes: Episodes,
    key: Key,
    *,
    origin: Weights,
    create_graph: bool = False,
) -> dict[str, Tensor]:
    """The gradient of a step by `leaves`, tasks put together by the phase's aggregator. A leaf that nothing reads has gradient 0.

    `origin`: the weights that the phase (or, inside `Adapt`, the episode) began with; an Anchor holds on to them.
    """
    outcome = respond(ground, phase.learner, weights, episodes, key)
    if not outcome.own:
        here = {n: leaf.expand(len(episodes), *leaf.shape) for n, leaf in leaves.items()}
        outcome = replace(outcome, shared={n: origin[n] for n in leaves}, own=here)
    each = sum((loss(outcome) for loss in phase.losses), torch.zeros(len(episodes), device=outcome.logits.device))
    ids, tasks = task_losses(each, episodes.task.to(each.device))
    names, tensors = list(leaves), list(leaves.values())

    def gradient(of: Tensor, *, again: bool) -> dict[str, Tensor]:
        found = torch.autograd.grad(of, tensors, retain_graph=again or create_graph, create_graph=create_graph, allow_unused=True)
        return {n: torch.zeros_like(t) if g is None else g for n, t, g in zip(names, tensors, found, strict=True)}

    if phase.aggregator.needs == "losses":
        return gradient((phase.aggregator.weigh(tasks.detach(), tasks=ids) * tasks).sum(), again=False)
    single = [gradient(tasks[t], again=True) for t in range(len(tasks))]
    share = phase.aggregator.weigh(gram(single), projection_order(key.child("order"), len(tasks)), ids)
    return {n: sum((w * g[n] for w, g in zip(share, single, strict=True)), torch.zeros_like(leaves[n])) for n in names}
