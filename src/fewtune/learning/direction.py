"""The direction of one step: the gradient of its losses, tasks put together by the phase's aggregator.

A batch may be answered in parts (gradient accumulation) and by several processes (data parallel); the result is that of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from fewtune.keys import Key
from fewtune.learning.phase import Phase
from fewtune.learning.world import ALONE, World
from fewtune.parts.aggregators import gram, projection_order
from fewtune.parts.losses import Outcome
from fewtune.tasks.episodes import Episodes

Weights: TypeAlias = Mapping[str, Tensor]
Gradients: TypeAlias = dict[str, Tensor | None]
Answer: TypeAlias = Callable[[Episodes, Sequence[int]], Outcome]  # (some episodes of the batch, their places in it) -> the answer


def direction(
    phase: Phase,
    answer: Answer,
    leaves: Weights,
    episodes: Episodes,
    key: Key,
    *,
    origin: Weights,
    create_graph: bool = False,
    parts: int = 1,
    world: World = ALONE,
    look: Answer | None = None,
) -> tuple[Gradients, Tensor]:
    """(the gradient by each leaf, None for one that nothing reads; the losses [E], detached, float64).

    `origin`: the weights that the source phase, or inside `Adapt` the episode, began with; an Anchor holds on to them. `parts`: in how many
    pieces the batch is answered, one after another. `world`: the processes that share the batch; every one returns the whole's result.
    `look`: as `answer`, for a first look at losses that weights depend on (by default `answer` itself, whose visits count).
    """
    ids, place, counts = torch.unique(episodes.task.cpu(), return_inverse=True, return_counts=True)
    share = (1.0 / counts.double())[place]  # of each episode in the mean of its task
    mine = [part for part in world.share(len(episodes)).tensor_split(parts) if len(part)]
    values = torch.zeros(len(episodes), dtype=torch.float64)

    def losses(part: Tensor, by: Answer = answer) -> Tensor:
        each = episode_losses(phase, by(episodes[part], part.tolist()), leaves, origin)
        values[part] = each.detach().double().cpu()
        return each

    def gradient(total: Gradients, of: Tensor, *, again: bool = False) -> Gradients:
        keep = again or create_graph
        found = torch.autograd.grad(of, list(leaves.values()), retain_graph=keep, create_graph=create_graph, allow_unused=True)
        return {n: _sum(total.get(n), g) for n, g in zip(leaves, found, strict=True)}

    def weighed(known: Tensor) -> Tensor:
        tasks = torch.zeros(len(ids), dtype=torch.float64).index_add(0, place, known * share)
        each: Tensor = phase.aggregator.weigh(tasks, tasks=ids)[place] * share
        return each

    if phase.aggregator.needs == "gram":
        single: list[Gradients] = [{} for _ in ids]
        for part in mine:
            each = losses(part)
            for t in place[part].unique().tolist():
                inside = place[part] == t
                single[t] = gradient(single[t], (share[part][inside].to(each) * each[inside.to(each.device)]).sum(), again=True)
        return _combined(phase, [world.gradients(g, leaves) for g in single], leaves, ids, key), world.sum(values)

    whole = len(mine) == 1 and world.size == 1
    if not (whole or phase.aggregator.constant):  # its weights depend on the losses of all: a first look without gradients
        with torch.no_grad():
            for part in mine:
                losses(part, look or answer)
        values = world.sum(values)
    total: Gradients = {}
    weights = None if whole else weighed(values)
    for part in mine:
        each = losses(part)
        weigh = weighed(values) if weights is None else weights
        total = gradient(total, (weigh[part].to(each) * each).sum())
    return world.gradients(total, leaves), world.sum(world.own(values))


def episode_losses(phase: Phase, outcome: Outcome, leaves: Weights, origin: Weights) -> Tensor:
    """The sum of a phase's losses, [E]. Where episodes share their weights, those are what an Anchor holds near `origin`."""
    E = len(outcome.episodes)
    if not outcome.own:
        here = {n: leaf.expand(E, *leaf.shape) for n, leaf in leaves.items()}
        outcome = replace(outcome, shared={n: origin[n] for n in leaves}, own=here)
    return sum((loss(outcome) for loss in phase.losses), torch.zeros(E, device=outcome.logits.device))


def _combined(phase: Phase, single: Sequence[Gradients], leaves: Weights, ids: Tensor, key: Key) -> Gradients:
    """sum_t w_t g_t with w from the Gram matrix of the tasks' gradients."""
    read = [{n: g for n, g in gradients.items() if g is not None} for gradients in single]
    weigh = phase.aggregator.weigh(gram(read), projection_order(key.child("order"), len(single)), ids)
    found: Gradients = dict.fromkeys(leaves)
    for w, gradients in zip(weigh, read, strict=True):
        for n, g in gradients.items():
            found[n] = _sum(found[n], w.to(g) * g)
    return found


def _sum(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    if total is None or more is None:
        return more if total is None else total
    return total + more
