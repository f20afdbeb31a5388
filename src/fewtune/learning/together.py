"""Episodes that adapt together: own weights have a leading E; one vmapped forward pass answers all, and one sum of losses gives the
gradients.

It is what engine.py does to one episode after another, but for the order of sums. It pays where a forward pass costs less than the
words around it: small networks on vectors are 10 times faster. On a CPU convolutions with weights of their own are not
(benchmarks/training.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from fewtune.data.views.views import IDENTITY, View
from fewtune.learning.ground import RATES, Ground
from fewtune.learning.phase import Adapt, Learner, Phase, distils, heads_of, phases_of
from fewtune.parts.heads.head import Head, Parameters, State, mask_classes, stored
from fewtune.parts.inner import start, update
from fewtune.parts.losses import Outcome
from fewtune.parts.optimizers import Relative
from fewtune.parts.plan import resolve
from fewtune.parts.sharing import Sharing
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled

Weights: TypeAlias = Mapping[str, Tensor]

MOST = 1 << 28  # entries of own weights at a time, 1 GiB in float32
ON_GPU = 8  # episodes at once there


def fit_together(ground: Ground, adapt: Adapt, weights: Weights, episodes: Episodes, view: View) -> int:
    """How many of these episodes `adapt_together` takes at once; 0 where it cannot, or where one after another is faster.

    It needs one plain phase on the whole support, heads that read no support, have a shared start and keep in their state all that they
    answer by, no padding and no texts.
    """
    if not _simple(ground, adapt, episodes, view):
        return 0
    machine, vectors = ground.backbone.machine, ground.backbone.preparation.modality == "vector"
    wanted = machine.together or (len(episodes) if vectors else ON_GPU if machine.device.startswith("cuda") else 1)
    room = MOST // max(1, sum(t.numel() for t in weights.values()))
    found = min(wanted, room, len(episodes))
    return found if found > 1 or vectors else 0


def _simple(ground: Ground, adapt: Adapt, episodes: Episodes, view: View) -> bool:
    backbone = ground.backbone
    if len(adapt.phases) != 1 or not isinstance(phase := adapt.phases[0], Phase) or adapt.through not in ("unroll", "first_order"):
        return False
    if (
        isinstance(phase.learner, Adapt)
        or phase.sampler != Pooled()
        or phase.batch != 1
        or (phase.query_view, view) != (IDENTITY, IDENTITY)
    ):
        return False
    if distils(phase) or isinstance(phase.optimizer, Relative):  # its rates go by norms of whole weights
        return False
    tensors = backbone.preparation.modality in ("vector", "image") and bool(ground.parameters)
    if not tensors or ground.edits or ground.store is not None or backbone.machine.recompute:
        return False
    if any(head.reads_support or head.reads_classes or head.own or isinstance(head, Sharing) for head in heads_of(adapt)):
        return False
    return all(part.shape[1] and bool((part >= 0).all()) for part in (episodes.support, episodes.query, episodes.classes))


def adapt_together(ground: Ground, adapt: Adapt, weights: Weights, episodes: Episodes) -> Outcome:
    """The answer of a learner that adapts, to episodes for which `fit_together` holds."""
    (phase,) = phases_of(adapt.phases)
    connected = torch.is_grad_enabled()
    unrolled = connected and adapt.through == "unroll"
    here = episodes.to(ground.backbone.machine.device)
    held: Weights = weights if unrolled else {n: t.detach() for n, t in weights.items()}
    with torch.enable_grad():
        own = _tuned(ground, phase, held, here, unrolled)
    if connected and not unrolled:
        own = {n: weights[n] + (t - held[n]) for n, t in own.items()}
    return replace(_answer(ground, adapt.then, weights, own, here, _inputs(ground, episodes.query)), own=own)


def _tuned(ground: Ground, phase: Phase, shared: Weights, episodes: Episodes, unrolled: bool) -> dict[str, Tensor]:
    """The weights [E, ...] that the episodes have moved."""
    none, label = episodes.support[:, :0], episodes.support_label
    asked = replace(episodes, support=none, support_label=label[:, :0], query=episodes.support, query_label=label)
    inputs = _inputs(ground, episodes.support)
    plan = resolve(phase.plan, ground.movable_inside(shared), ground.backbone.groups)
    current = {n: shared[n].expand(len(episodes), *shared[n].shape) for n in plan.moving}
    moved: dict[str, Tensor] = {}
    state = start(phase.optimizer, current)
    for number in range(phase.steps):
        if phase.restart and number % phase.restart == 0:
            state = start(phase.optimizer, current)
        leaf = {n: t if unrolled and t.requires_grad else t.detach().requires_grad_() for n, t in current.items()}
        outcome = replace(_answer(ground, phase.learner, shared, leaf, asked, inputs), shared={n: shared[n] for n in leaf})
        total = torch.stack([loss(outcome).sum() for loss in phase.losses]).sum()
        slopes = torch.autograd.grad(total, list(leaf.values()), create_graph=unrolled, allow_unused=True)
        gradients = dict(zip(leaf, slopes, strict=True))
        rates: dict[str, float | Tensor] = {**plan.rates_at(number, phase.steps), **{n: shared[f"{RATES}.{n}"] for n in plan.learned}}
        ended, state = update(phase.optimizer, leaf, gradients, state, rates)
        # as for one episode: a name that nothing read stays the shared one
        moved |= {n: t if unrolled else t.detach() for n, t in ended.items() if gradients[n] is not None and t is not leaf[n]}
        current |= moved
    return moved


def _answer(ground: Ground, head: Learner, shared: Weights, own: Weights, episodes: Episodes, inputs: Tensor) -> Outcome:
    """What a head that reads no support says to the query rows `inputs` [E, B, ...]."""
    assert not isinstance(head, Adapt)
    ground.meter.visits += inputs.shape[0] * inputs.shape[1]
    mine = {n: t for n, t in own.items() if n in ground.names}
    fixed = {n: t for n, t in shared.items() if n in ground.names and n not in mine}
    if mine:
        features = ground.backbone.forward_each(mine, fixed, inputs)
    else:
        features = ground.backbone.forward(fixed, inputs.flatten(0, 1)).view(*inputs.shape[:2], -1)
    logits = mask_classes(head.score(_state(ground, head, shared, own, episodes, features), features, {}), episodes)
    return Outcome(logits=logits, episodes=episodes, query=features, shared=shared, own=own)


def _state(ground: Ground, head: Head, shared: Weights, own: Weights, episodes: Episodes, features: Tensor) -> State:
    """What `fit` makes of each episode's parameters."""
    given = ground.read(head, {**shared, **own})
    each = {n: t for n, t in given.items() if stored(head, n) in own}
    none = episodes.support[:1, :0]

    def one(mine: Parameters, classes: Tensor) -> State:
        alone = Episodes(none, none, none, none, classes[None], episodes.task[:1])
        return head.fit(features.new_zeros(1, 0, features.shape[-1]), alone, None, {**given, **mine})

    made: State = torch.func.vmap(one)(each, episodes.classes)
    return {part: t[:, 0] for part, t in made.items()}


def _inputs(ground: Ground, rows: Tensor) -> Tensor:
    """The network's inputs [E, B, ...]."""
    prepared: Tensor = ground.space.gather(rows.flatten().tolist(), ground.backbone.preparation)
    return prepared.to(ground.backbone.machine.device).view(*rows.shape, *prepared.shape[1:])
