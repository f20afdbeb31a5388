"""The one engine: answering episodes and running the phases of an `Adapt` on each episode's own weights. Source phases: train.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from fewtune.backbones.attention import plain_attention
from fewtune.backbones.edits import Edit, drawn_by
from fewtune.data.views.views import IDENTITY, View
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.learning.direction import Answer, Gradients, direction
from fewtune.learning.ground import RATES, Ground, Meter
from fewtune.learning.implicit import check_implicit, crossing
from fewtune.learning.layer_inputs import input_grams, member_rows
from fewtune.learning.memo import Memo
from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Learner, Phase, Step, distils, heads_of, phases_of
from fewtune.learning.support import support_tasks
from fewtune.learning.together import adapt_together, fit_together
from fewtune.parts.heads.head import FromNames, Head, Random, stored
from fewtune.parts.heads.head import answer as answered
from fewtune.parts.heads.projection import Projection
from fewtune.parts.inner import start, update
from fewtune.parts.losses import Outcome
from fewtune.parts.merging import merge
from fewtune.parts.plan import ResolvedPlan, resolve
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks

Weights = Mapping[str, Tensor]
Views = tuple[View, View]


def respond(
    ground: Ground,
    learner: Learner,
    weights: Weights,
    episodes: Episodes,
    key: Key,
    *,
    views: Views = (IDENTITY, IDENTITY),
    numbers: Sequence[int] | None = None,
) -> Outcome:
    """A learner's answer to episodes, by the given weights; gradients flow to those that require one.

    `views`: how support and query are seen. `numbers`: the episodes' places in their batch (0, 1, ... by default), which randomness
    goes by, so that a part of a batch is answered as within the whole.
    """
    if isinstance(learner, Adapt):
        return _adapted(ground, learner, weights, episodes, key, views[1], range(len(episodes)) if numbers is None else numbers)
    support, query = _features(ground, learner, weights, episodes, key, views)
    here = episodes.to(query.device)
    if isinstance(learner, Projection):
        projected = learner.score({}, query, ground.read(learner, weights))
        return Outcome(logits=projected, episodes=here, query=projected, shared=weights)
    vectors = ground.class_vectors(learner, weights, episodes)
    logits = answered(learner, support, query, here, vectors, ground.read(learner, weights))
    return Outcome(logits=logits, episodes=here, query=query, class_vectors=vectors, shared=weights)


def _features(ground: Ground, head: Head, weights: Weights, episodes: Episodes, key: Key, views: Views) -> tuple[Tensor, Tensor]:
    """Support and query features. They are embedded together if both have the same view; a support that the head does not read is left
    out.
    """
    if head.reads_support and not episodes.support.shape[1]:
        raise InputError(
            f"{type(head).__name__} learns from a support, but the sampler draws none: use Sampled(...), or a head such as Linear(...)."
        )
    if not head.reads_support:
        query = _query(ground, weights, episodes.query, views[1], key)
        return query.new_zeros(*episodes.support.shape, query.shape[-1]), query
    if views == (IDENTITY, IDENTITY):
        S = episodes.support.shape[1]
        features = ground.embed(weights, torch.cat([episodes.support, episodes.query], dim=1))
        return features[:, :S], features[:, S:]
    support = ground.embed(weights, episodes.support, views[0], key.child("support"))
    return support, _query(ground, weights, episodes.query, views[1], key)


def _query(ground: Ground, weights: Weights, rows: Tensor, view: View, key: Key) -> Tensor:
    """The features [E, Q, D] of query rows; a row that comes several times in an episode is seen in as many views."""
    if view == IDENTITY:
        return ground.embed(weights, rows, view, key.child("query"))
    earlier = (rows[:, :, None] == rows[:, None, :]).tril(-1).sum(2).masked_fill(rows < 0, 0)
    found = ground.embed(weights, rows.masked_fill(earlier > 0, -1), view, key.child("query"))
    for time in range(1, int(earlier.max()) + 1 if earlier.numel() else 1):
        found = found + ground.embed(weights, rows.masked_fill(earlier != time, -1), view, key.child("query", "again", time))
    return found


def _adapted(ground: Ground, adapt: Adapt, weights: Weights, episodes: Episodes, key: Key, view: View, numbers: Sequence[int]) -> Outcome:
    """Every episode with its own weights, one after another where they cannot be moved together."""
    if size := fit_together(ground, adapt, weights, episodes, view):
        chunks = [adapt_together(ground, adapt, weights, episodes[i : i + size]) for i in range(0, len(episodes), size)]
        return _joined(chunks, weights, episodes)
    parts, owns = [], []
    inner = replace(ground, memo=Memo())  # one for all: what an episode embeds no other finds but with the very same weights and rows
    for e, number in enumerate(numbers):
        one = episodes[e : e + 1]
        own = tune(inner, adapt, weights, one, key.child("episode", number))
        parts.append(respond(inner, adapt.then, {**weights, **own}, one, key.child("then", number), views=(IDENTITY, view)))
        owns.append(own)
    stacked = [replace(part, own={n: t[None] for n, t in own.items()}) for part, own in zip(parts, owns, strict=True)]
    return _joined(stacked, weights, episodes)


def _joined(parts: Sequence[Outcome], weights: Weights, episodes: Episodes) -> Outcome:
    """The outcome of a batch from those of its pieces, each with its own weights."""
    return Outcome(
        logits=torch.cat([p.logits for p in parts]),
        episodes=episodes.to(parts[0].logits.device),
        query=torch.cat([p.query for p in parts if p.query is not None]),
        shared=weights,
        own={n: torch.cat([p.own[n] for p in parts]) for n in parts[0].own},
    )


def tune(ground: Ground, adapt: Adapt, weights: Weights, episode: Episodes, key: Key) -> dict[str, Tensor]:
    """The weights that one episode [1, ...] moves on its support, by name; connected to `weights` as `adapt.through` says."""
    connected = torch.is_grad_enabled()
    unrolled = adapt.through == "unroll" and connected
    twice = unrolled or (connected and isinstance(adapt.through, Implicit))
    tasks = support_tasks(episode)
    with torch.enable_grad(), plain_attention() if twice else nullcontext():
        begun = {**weights, **_own_heads(ground, adapt.phases, weights, episode)}
        held: Weights = begun if unrolled else {n: t.detach() for n, t in begun.items()}
        ended = held
        for number, step in enumerate(adapt.phases):
            ended = run_inside(ground, step, ended, held, tasks, key.child("phase", number), unrolled)
    own = {n: t for n, t in ended.items() if t is not held[n] or n not in weights}
    if unrolled or not connected:
        return own
    if isinstance(adapt.through, Implicit):
        return _implicit(ground, adapt, weights, own, tasks, key.child("phase", 0))
    return {n: begun[n] + (t - held[n]) if n in weights else t for n, t in own.items()}


def _implicit(ground: Ground, adapt: Adapt, weights: Weights, own: Weights, tasks: Tasks, key: Key) -> dict[str, Tensor]:
    """The moved weights, connected to the shared ones as the solution of the inner problem."""
    assert isinstance(adapt.through, Implicit)
    (phase,) = phases_of(adapt.phases)
    strength = check_implicit(phase, tuple(own), weights)
    plain = {n: t.detach() for n, t in weights.items()}
    episodes = phase.sampler.draw(tasks, key, 0, 1)

    def gradient(solution: Weights, others: Weights) -> Gradients:
        answer = answering(replace(ground, memo=None), phase, {**plain, **others, **solution}, key, origin=plain)
        with plain_attention():
            return direction(phase, answer, solution, episodes, key, origin=plain, create_graph=True)[0]

    return crossing(own, weights, strength, adapt.through, gradient, ground.meter.note_residual)


def _own_heads(ground: Ground, steps: tuple[Step, ...], weights: Weights, episode: Episodes) -> dict[str, Tensor]:
    """New heads for this episode, with a row for each of its classes; inner phases with their own start use them."""
    made: dict[str, Tensor] = {}
    device = ground.backbone.machine.device

    def support() -> Tensor:
        return ground.embed(weights, episode.support).detach().to(device)

    for head in (head for phase in phases_of(steps) for head in heads_of(phase.learner)):
        if not made.keys() >= {*head.own}:
            made |= {n: t.to(device) for n, t in head.begin(ground.width, support, episode.to(device)).items()}
            if isinstance(head, FromNames) and (vectors := ground.class_vectors(head, weights, episode)) is not None:
                made |= head.begin_at(vectors[0].detach(), ground.width)
    return made


def run_inside(ground: Ground, step: Step, weights: Weights, origin: Weights, tasks: Tasks, key: Key, unrolled: bool) -> dict[str, Tensor]:
    """One step of an `Adapt`, out of place, so that gradients may cross it. `origin`: the weights that the episode began with."""
    if isinstance(step, Average):

        def member(start: Weights, number: int) -> Weights:
            for place, one in enumerate(step.members[number]):
                start = run_inside(ground, one, start, origin, tasks, key.child(number).child(place), unrolled)
            return start

        return averaged(step, weights, member, ground, tasks, key)
    if isinstance(step, Greedy):
        raise InputError("a greedy soup needs validation episodes, which a support set has not: use Average inside Adapt.")
    plan = resolve(step.plan, ground.movable_inside(weights), ground.backbone.groups)
    current = dict(weights)
    state = start(step.optimizer, {n: current[n] for n in plan.moving})
    for number in range(step.steps):
        if step.restart and number % step.restart == 0:
            state = start(step.optimizer, {n: current[n] for n in plan.moving})
        leaf = {n: t if unrolled and t.requires_grad else t.detach().requires_grad_() for n, t in _of(current, plan.moving).items()}
        episodes = step.sampler.draw(tasks, key.child("draw"), number * step.batch, step.batch)
        its = key.child("step", number)
        answer = answering(ground, step, {**current, **leaf}, its, origin=origin)
        gradients, _ = direction(step, answer, leaf, episodes, its, origin=origin, create_graph=unrolled)
        moved, state = update(step.optimizer, leaf, gradients, state, _rates(plan, weights, number, step.steps))
        # a name that nothing read stays the very tensor that it was, and so does not count as moved
        current |= {n: t if unrolled else t.detach() for n, t in moved.items() if gradients.get(n) is not None and t is not leaf[n]}
    return current


def answering(ground: Ground, phase: Phase, weights: Weights, key: Key, *, origin: Weights | None = None) -> Answer:
    """How a phase answers some episodes of a step's batch. Where it distils, its answer by the weights `origin` is the teacher."""
    views = (phase.support_view, phase.query_view)
    apart = replace(ground, memo=None, meter=Meter())  # what a teacher looks at is not counted, and has no gradients to remember

    def answer(episodes: Episodes, numbers: Sequence[int]) -> Outcome:
        now = {**weights, **drawn_by(ground.edits, ground.declared_by_edits, key), **_drawn(phase.learner, episodes, key, numbers)}
        outcome = respond(ground, phase.learner, now, episodes, key, views=views, numbers=numbers)
        if origin is None or not distils(phase):
            return outcome
        with torch.no_grad():
            teacher = respond(apart, phase.learner, origin, episodes, key, views=views, numbers=numbers)
        return replace(outcome, teacher=teacher.logits)

    return answer


def _drawn(learner: Learner, episodes: Episodes, key: Key, numbers: Sequence[int]) -> dict[str, Tensor]:
    """What a head that is random in training draws for these episodes, by the names under which weights hold it."""
    if isinstance(learner, Adapt) or not isinstance(learner, Random):
        return {}
    return {stored(learner, n): t for n, t in learner.drawn(key.child("head"), episodes, numbers).items()}


def _rates(plan: ResolvedPlan, weights: Weights, number: int, steps: int) -> dict[str, float | Tensor]:
    """The rate of every name; learned ones are declared parameters."""
    rates: dict[str, float | Tensor] = {**plan.rates_at(number, steps)}
    return rates | {n: weights[f"{RATES}.{n}"] for n in plan.learned}


def _of(weights: Weights, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {n: weights[n] for n in names}


def averaged(
    step: Average, weights: Weights, run: Callable[[Weights, int], Weights], ground: Ground, tasks: Tasks, key: Key
) -> dict[str, Tensor]:
    """Every member from the same start, and what the step's weights or rule make of their ends.

    `run` takes the start and the member's number. `tasks`: what members train on, for a rule that reads inputs of layers.
    """
    ends = [run(weights, number) for number in range(len(step.members))]
    if step.rule is None:
        return average(ends, step.weights, ground.edits, weights)
    grams = None
    if step.rule.reads_inputs:
        rows = [member_rows(member, tasks, key.child("inputs", number)) for number, member in enumerate(step.members)]
        grams = [input_grams(ground, end, some) for end, some in zip(ends, rows, strict=True)]
    return merge(step.rule, weights, ends, ground.edits, grams)


def average(
    ends: Sequence[Weights], weights: Sequence[float], edits: tuple[Edit, ...] = (), start: Weights | None = None
) -> dict[str, Tensor]:
    """sum_i w_i theta_i by name; what no member has moved stays the very tensor it was. Whole numbers (marks) are those of the first.

    Where there are `edits`, it is the edited weights that are averaged, sum_i w_i (W_i + up_i down_i), and not their factors each for
    itself. `start`: the weights that all ends come from, whose names they all have.
    """
    for edit in edits:
        assert start is not None
        ends = edit.aligned(ends, start)
    mixed: dict[str, Tensor] = {}
    for n, first in ends[0].items():
        kept = not first.is_floating_point() or all(end[n] is first for end in ends)
        mixed[n] = first if kept else sum((w * end[n] for w, end in zip(weights, ends, strict=True)), torch.zeros_like(first))
    return mixed
