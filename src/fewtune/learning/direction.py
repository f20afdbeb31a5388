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
from fewtune.learning.layer_grams import LayerGrams
from fewtune.learning.meeting_grams import MeetingGrams
from fewtune.learning.phase import Phase
from fewtune.learning.slopes import Apart
from fewtune.learning.weighing import Weighing
from fewtune.learning.world import ALONE, World
from fewtune.parts.aggregators import Seen, form_of, gram
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
    """As `answer`, for a look at the losses that is no answer of the step. By default `answer`, which counts visits."""
    weighing: Weighing
    """What the aggregator knows of earlier steps, and learns in this one. By default nothing; see `Weighing`."""


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
    world = spread.get("world", ALONE)
    weighing = spread.get("weighing") or Weighing(phase.aggregator)
    mine = _mine(episodes, spread)
    batch = _Batch(phase, leaves, episodes, origin, create_graph)
    weights, single, apart = weighing.used(batch.ids), None, None
    if weights is None and phase.aggregator.needs == "gram" and form_of(phase.aggregator) == "exact":
        return _exact(batch, mine, answer, key, weighing, world), world.sum(batch.values)
    if weights is None and phase.aggregator.constant:
        weights = weighing.weigh(batch.seen(batch.values, key))
    if weights is None:
        alone = len(mine) <= 1  # what is looked at is kept, and answers
        single, matrix, apart = _look(batch, mine, answer if alone else spread.get("look", answer), world)
        weights = weighing.weigh(batch.seen(world.sum(batch.values), key, matrix))
    total: Gradients = {}
    if apart is not None and not create_graph:
        return world.gradients(apart.update(weights), leaves), world.sum(world.own(batch.values))
    for part in mine:
        each = batch.losses(part, answer) if single is None else single
        total = batch.gradient(total, (batch.weighed(weights)[part].to(each) * each).sum())
    return world.gradients(total, leaves), world.sum(world.own(batch.values))


def look_back(phase: Phase, leaves: Weights, episodes: Episodes, *, origin: Weights, **spread: Unpack[Spread]) -> None:
    """A look at the losses of the same batch after the step, for a weighing that learns from it."""
    batch = _Batch(phase, leaves, episodes, origin, create_graph=False)
    with torch.no_grad():
        for part in _mine(episodes, spread):
            batch.losses(part, spread["look"])
    spread["weighing"].look_back(batch.means(spread.get("world", ALONE).sum(batch.values)))


def _mine(episodes: Episodes, spread: Spread) -> list[Tensor]:
    """The places in the batch that this process answers, in parts."""
    share = spread.get("world", ALONE).share(len(episodes))
    return [part for part in share.tensor_split(spread.get("parts", 1)) if len(part)]


def _look(batch: _Batch, mine: Sequence[Tensor], look: Answer, world: World) -> tuple[Tensor | None, Tensor | None, Apart | None]:
    """(the losses with their graph if there is one part; the Gram matrix if it is needed and not exact; what the losses of the one part say
    at the features, if that is all); `batch.values` are known then."""
    kept = None
    grams = batch.grams()
    for part in mine:
        if grams is None:
            with torch.set_grad_enabled(len(mine) == 1 and torch.is_grad_enabled()):
                kept = batch.losses(part, look)
            continue
        with grams.watching():
            kept = batch.losses(part, look)
        grams.read(batch.by_task(part, kept), batch.place[part], batch.query[part])
    matrix = None if grams is None else grams.matrix(world)
    return (kept, matrix, None if grams is None else grams.apart) if len(mine) == 1 else (None, matrix, None)


def _exact(batch: _Batch, mine: Sequence[Tensor], answer: Answer, key: Key, weighing: Weighing, world: World) -> Gradients:
    """sum_t w_t g_t with w from the Gram matrix of the tasks' whole gradients, which are kept."""
    single: list[Gradients] = [{} for _ in batch.ids]
    for part in mine:
        for t, loss in enumerate(batch.by_task(part, batch.losses(part, answer))):
            if loss is not None:
                single[t] = batch.gradient(single[t], loss, again=True)
    whole = [world.gradients(g, batch.leaves) for g in single]
    read = [{n: g for n, g in gradients.items() if g is not None} for gradients in whole]
    weights = weighing.weigh(batch.seen(world.sum(batch.values), key, gram(read).cpu().double()))
    found: Gradients = dict.fromkeys(batch.leaves)
    for w, gradients in zip(weights, read, strict=True):
        for n, g in gradients.items():
            found[n] = _sum(found[n], w.to(g) * g)
    return found


@final
class _Batch:
    """The episodes of one step, by task: `ids` [T], the place of each episode's task among them, and its share in the task's mean.

    `values` [E] holds the losses that have been computed so far; `leaves` are what gradients are taken by, and `query`
    [E, Q] the rows that are asked.
    """

    def __init__(self, phase: Phase, leaves: Weights, episodes: Episodes, origin: Weights, create_graph: bool) -> None:
        self._phase, self.leaves, self._episodes, self._origin, self._create_graph = phase, leaves, episodes, origin, create_graph
        self.ids, self.place, counts = torch.unique(episodes.task.cpu(), return_inverse=True, return_counts=True)
        self.share = (1.0 / counts.double())[self.place]
        self.query = episodes.query
        self.values = torch.zeros(len(episodes), dtype=torch.float64)

    def losses(self, part: Tensor, answer: Answer) -> Tensor:
        """The losses of some episodes, by their places in the batch."""
        each = episode_losses(self._phase, answer(self._episodes[part], part.tolist()), self.leaves, self._origin)
        self.values[part] = each.detach().double().cpu()
        return each

    def gradient(self, total: Gradients, of: Tensor, *, again: bool = False) -> Gradients:
        """`total` plus the gradient of `of` by each leaf; `again`: `of` shares its graph with another gradient."""
        leaves, graph = self.leaves, self._create_graph
        if not leaves:  # a plan may freeze everything
            return total
        found = torch.autograd.grad(of, list(leaves.values()), retain_graph=again or graph, create_graph=graph, allow_unused=True)
        return {n: _sum(total.get(n), g) for n, g in zip(leaves, found, strict=True)}

    def by_task(self, part: Tensor, each: Tensor) -> list[Tensor | None]:
        """The share of a part of the batch in each task's mean loss [T]; None for a task that is not in it."""
        found: list[Tensor | None] = []
        for t in range(len(self.ids)):
            inside = self.place[part] == t
            share = self.share[part][inside].to(each)
            found.append((share * each[inside.to(each.device)]).sum() if len(share) else None)
        return found

    def grams(self) -> LayerGrams | MeetingGrams | None:
        """What measures the Gram matrix, if the aggregator needs it and not of whole gradients."""
        aggregator = self._phase.aggregator
        if aggregator.needs == "losses":
            return None
        return LayerGrams(self.leaves, len(self.ids)) if form_of(aggregator) == "layer" else MeetingGrams(self.leaves, len(self.ids))

    def means(self, known: Tensor) -> Tensor:
        """The mean loss [T] of each task, from the losses [E]."""
        return torch.zeros(len(self.ids), dtype=torch.float64).index_add(0, self.place, known * self.share)

    def seen(self, known: Tensor, key: Key, matrix: Tensor | None = None) -> Seen:
        """What the aggregator sees of this step."""
        return Seen(tasks=self.ids, losses=self.means(known), gram=matrix, key=key)

    def weighed(self, weights: Tensor) -> Tensor:
        """The weight [E] of each episode's loss in the step, from the weights [T] of the tasks."""
        each: Tensor = weights[self.place] * self.share
        return each


def episode_losses(phase: Phase, outcome: Outcome, leaves: Weights, origin: Weights) -> Tensor:
    """The sum of a phase's losses, [E]. Where episodes share their weights, those are what an Anchor holds near `origin`."""
    E = len(outcome.episodes)
    if not outcome.own:
        here = {n: leaf.expand(E, *leaf.shape) for n, leaf in leaves.items()}
        outcome = replace(outcome, shared={n: origin[n] for n in leaves}, own=here)
    return sum((loss(outcome) for loss in phase.losses), torch.zeros(E, device=outcome.logits.device))


def _sum(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    if total is None or more is None:
        return more if total is None else total
    return total + more
