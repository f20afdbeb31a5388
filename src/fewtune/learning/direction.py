"""The direction of one step: the gradient of its losses, tasks put together by the phase's aggregator.

A batch may be answered in parts (gradient accumulation) and by several processes (data parallel); the result is that of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypedDict, Unpack, final

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


class Spread(TypedDict, total=False):
    """How the work of one step is divided. The result is the same but for the order of sums."""

    parts: int
    """In how many pieces a process answers its share of the batch, one after another; 1 or more, 1 by default."""
    world: World
    """The processes that share the batch; each returns the result of the whole batch. This process alone by default."""
    look: Answer
    """As `answer`, for a first look at the losses if the aggregator needs them. By default `answer`, which counts visits."""


def direction(
    phase: Phase,
    answer: Answer,
    leaves: Weights,
    episodes: Episodes,
    key: Key,
    *,
    origin: Weights,
    create_graph: bool = False,
    **spread: Unpack[Spread],
) -> tuple[Gradients, Tensor]:
    """(the gradient by each leaf, None for a leaf that nothing reads; the losses [E], detached, float64).

    `origin`: the weights at the start of the source phase, or of the episode inside `Adapt`; an Anchor holds on to them.
    """
    world, look = spread.get("world", ALONE), spread.get("look", answer)
    mine = [part for part in world.share(len(episodes)).tensor_split(spread.get("parts", 1)) if len(part)]
    batch = _Batch(phase, leaves, episodes, origin, create_graph)
    if phase.aggregator.needs == "gram":
        single: list[Gradients] = [{} for _ in batch.ids]
        for part in mine:
            each, share = batch.losses(part, answer), batch.share[part]
            for t in batch.place[part].unique().tolist():
                inside = batch.place[part] == t
                single[t] = batch.gradient(single[t], (share[inside].to(each) * each[inside.to(each.device)]).sum(), again=True)
        return _combined(phase, [world.gradients(g, leaves) for g in single], leaves, batch.ids, key), world.sum(batch.values)

    whole = len(mine) == 1 and world.size == 1
    known = batch.values
    if not (whole or phase.aggregator.constant):  # its weights depend on the losses of all: a first look without gradients
        with torch.no_grad():
            for part in mine:
                batch.losses(part, look)
        known = world.sum(known)
    total: Gradients = {}
    weights = None if whole else batch.weighed(known)
    for part in mine:
        each = batch.losses(part, answer)
        weigh = batch.weighed(batch.values) if weights is None else weights
        total = batch.gradient(total, (weigh[part].to(each) * each).sum())
    return world.gradients(total, leaves), world.sum(world.own(batch.values))


@final
class _Batch:
    """The episodes of one step, by task: `ids` [T], the place of each episode's task among them, and its share in the task's mean.

    `values` [E] holds the losses that have been computed so far.
    """

    def __init__(self, phase: Phase, leaves: Weights, episodes: Episodes, origin: Weights, create_graph: bool) -> None:
        self._phase, self._leaves, self._episodes, self._origin, self._create_graph = phase, leaves, episodes, origin, create_graph
        self.ids, self.place, counts = torch.unique(episodes.task.cpu(), return_inverse=True, return_counts=True)
        self.share = (1.0 / counts.double())[self.place]
        self.values = torch.zeros(len(episodes), dtype=torch.float64)

    def losses(self, part: Tensor, answer: Answer) -> Tensor:
        """The losses of some episodes, by their places in the batch."""
        each = episode_losses(self._phase, answer(self._episodes[part], part.tolist()), self._leaves, self._origin)
        self.values[part] = each.detach().double().cpu()
        return each

    def gradient(self, total: Gradients, of: Tensor, *, again: bool = False) -> Gradients:
        """`total` plus the gradient of `of` by each leaf; `again`: `of` shares its graph with another gradient."""
        leaves, graph = self._leaves, self._create_graph
        if not leaves:  # a plan may freeze everything
            return total
        found = torch.autograd.grad(of, list(leaves.values()), retain_graph=again or graph, create_graph=graph, allow_unused=True)
        return {n: _sum(total.get(n), g) for n, g in zip(leaves, found, strict=True)}

    def weighed(self, known: Tensor) -> Tensor:
        """The weight [E] of each episode's loss in the step, from the losses [E]."""
        tasks = torch.zeros(len(self.ids), dtype=torch.float64).index_add(0, self.place, known * self.share)
        each: Tensor = self._phase.aggregator.weigh(tasks, tasks=self.ids)[self.place] * self.share
        return each


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
