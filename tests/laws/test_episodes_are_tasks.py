"""Laws of aggregators on sampled episodes: each is a task of its own, and its gradient is that of a plain loop, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.keys import key
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.parts.aggregators import Mean, PcGrad, WorstCase, projection_order
from fewtune.parts.heads import Centroid
from fewtune.parts.plan import only
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows, group_tasks
from tests.laws.grounds import WIDTH, double_ground, outer_phase

BATCH = 6
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
SAMPLER = Sampled(ways=3, shots=1, queries=3)


def by_hand(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> tuple[Tensor, Tensor]:
    """(the gradient of each episode [E, n], the losses [E]), by a network and prototypes written out, one episode after another."""
    rows = torch.from_numpy(np.stack([np.asarray(ground.space.fetch(i)) for i in range(len(ground.space))])).double()
    gradients, losses = [], []
    for e in range(len(episodes)):
        network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, WIDTH)).double()
        network.load_state_dict({n: weights[n] for n in NAMES})
        support, query = episodes.support[e][episodes.support[e] >= 0], episodes.query[e][episodes.query[e] >= 0]
        label, asked = episodes.support_label[e][: len(support)], episodes.query_label[e][: len(query)]
        found = nn.functional.normalize(network(rows[support]), dim=1)
        means = torch.stack([found[label == k].mean(0) for k in range(int(label.max()) + 1)])
        unit = nn.functional.normalize
        loss = nn.functional.cross_entropy(10 * unit(network(rows[query]), dim=1) @ unit(means, dim=1).T, asked)
        loss.backward()
        gradients.append(torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]))
        losses.append(loss.detach())
    return torch.stack(gradients), torch.stack(losses)


def surgery(gradients: Tensor, order: Tensor) -> Tensor:
    """Algorithm 1 of PCGrad on the gradients themselves."""
    total = torch.zeros_like(gradients[0])
    for i, others in enumerate(order.tolist()):
        mine = gradients[i].clone()
        for j in others:
            inner = mine @ gradients[j]
            if inner < 0:
                mine = mine - inner / (gradients[j] @ gradients[j]) * gradients[j]
        total = total + mine
    return total


def expected_of(aggregator: object, gradients: Tensor, losses: Tensor, at: Any, tasks: Tensor) -> Tensor:
    match aggregator:
        case Mean():
            return gradients.mean(0)
        case WorstCase():
            return gradients[losses.argmax()]
    return surgery(gradients, projection_order(at, tasks))


@pytest.fixture(params=["one collection", "three collections", "uneven episodes"])
def tasks_and_sampler(request: pytest.FixtureRequest, ground: Ground) -> tuple[Tasks, Sampled]:
    if request.param == "one collection":
        return class_rows(ground.space), SAMPLER
    if request.param == "three collections":
        return group_tasks(ground.space), replace(SAMPLER, ways=2)
    rows = np.concatenate([np.arange(10 * c, 10 * c + n) for c, n in enumerate((10, 4, 3, 10, 2, 10))])
    return class_rows(ground.space, rows=rows), replace(SAMPLER, shots=2, ragged=True)


@pytest.mark.parametrize("aggregator", [Mean(), WorstCase(), PcGrad(scale="own")], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("parts", [1, 4])
def test_a_step_puts_the_episodes_gradients_together(
    ground: Ground, tasks_and_sampler: tuple[Tasks, Sampled], aggregator: Any, parts: int
) -> None:
    tasks, sampler = tasks_and_sampler
    weights = ground.backbone.start()
    episodes = sampler.draw(tasks, key(4), 0, BATCH)
    gradients, losses = by_hand(ground, weights, episodes)
    inner = gradients @ gradients.T
    assert bool((inner < 0).any()), "some conflict, or there is nothing to see"
    phase = outer_phase(Centroid(), sampler=sampler, aggregator=aggregator, batch=BATCH)
    leaves = {n: weights[n].clone().requires_grad_() for n in NAMES}
    found, seen = direction(phase, answering(ground, phase, leaves, key(9)), leaves, episodes, key(9), origin=weights, parts=parts)
    torch.testing.assert_close(seen, losses, rtol=1e-6, atol=1e-7)  # the temperature is float32
    flat = torch.cat([t.reshape(-1) for t in (found[n] for n in NAMES) if t is not None])
    torch.testing.assert_close(flat, expected_of(aggregator, gradients, losses, key(9), episodes.task), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("aggregator", [WorstCase(), PcGrad(scale="own")], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_run_of_them_is_the_loop(aggregator: Any, accumulate: int) -> None:
    """Three steps of plain descent at rate 0.05."""
    ground = double_ground(accumulate=accumulate)
    tasks = class_rows(ground.space)
    plan = only(NAMES, 0.05)
    phase = Phase(sampler=SAMPLER, learner=Centroid(), plan=plan, steps=3, batch=BATCH, aggregator=aggregator)
    found = train(ground, (phase,), tasks, key(2)).weights
    weights = {n: t.clone() for n, t in ground.backbone.start().items()}
    at = key(2).child("source", 0)
    for number in range(3):
        episodes = SAMPLER.draw(tasks, at.child("draw"), number * BATCH, BATCH)
        gradients, losses = by_hand(ground, weights, episodes)
        step = expected_of(aggregator, gradients, losses, at.child("step", number), episodes.task)
        for n, part in zip(NAMES, torch.split(step, [weights[n].numel() for n in NAMES]), strict=True):
            weights[n] = weights[n] - 0.05 * part.view_as(weights[n])
    for n in NAMES:
        torch.testing.assert_close(found[n], weights[n], rtol=1e-6, atol=1e-8)


def test_all_episodes_of_a_collection_are_one_task_where_asked(ground: Ground) -> None:
    """The mean over groups of the mean over their episodes, which differs from the mean over episodes."""
    tasks, weights = group_tasks(ground.space), ground.backbone.start()
    sampler = replace(SAMPLER, ways=2, task="collection")
    episodes = sampler.draw(tasks, key(4), 0, BATCH)
    gradients, _ = by_hand(ground, weights, episodes)
    groups = [gradients[episodes.task == t].mean(0) for t in episodes.task.unique()]
    leaves = {n: weights[n].clone().requires_grad_() for n in NAMES}
    phase = outer_phase(Centroid(), sampler=sampler, batch=BATCH)
    found, _ = direction(phase, answering(ground, phase, leaves, key(9)), leaves, episodes, key(9), origin=weights)
    flat = torch.cat([t.reshape(-1) for t in (found[n] for n in NAMES) if t is not None])
    torch.testing.assert_close(flat, torch.stack(groups).mean(0), rtol=1e-6, atol=1e-8)
    assert float((flat - gradients.mean(0)).norm()) > 1e-3 * float(flat.norm())
