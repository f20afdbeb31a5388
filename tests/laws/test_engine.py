"""Laws of the engine: meta-gradients against finite differences, loops against the same written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning import engine
from fewtune.learning.engine import respond, tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.support import support_tasks
from fewtune.learning.train import train
from fewtune.parts.aggregators import Fixed, Mean, PcGrad, WorstCase
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.keep import Ema
from fewtune.parts.losses import Anchor, CrossEntropy, Displacement
from fewtune.parts.optimizers import SGD, AdamW
from fewtune.parts.plan import everything, only
from fewtune.parts.rates import Learned
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS, WIDTH, differences, gradient, maml, near, outer_phase, query_loss, shared_head, some_episodes


@pytest.fixture(params=["together", "one after another"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which episodes adapt: the laws of meta-gradients hold for each."""
    if request.param == "one after another":
        monkeypatch.setattr(engine, "fit_together", lambda *_: 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_unrolled_meta_gradient_is_the_finite_difference(ground: Ground, episodes: Episodes, steps: int) -> None:
    weights = {**ground.backbone.start(), **shared_head()}
    learner = maml(rate=0.3, steps=steps)
    found = gradient(ground, outer_phase(learner), weights, episodes)
    for name in weights:
        near(found[name], differences(lambda nudged: query_loss(ground, learner, nudged, episodes), weights, name))


@pytest.mark.usefixtures("way")
def test_first_order_is_the_query_gradient_at_the_tuned_weights(ground: Ground, episodes: Episodes) -> None:
    weights = {**ground.backbone.start(), **shared_head()}
    learner = maml(rate=0.3, steps=3, through="first_order")
    found = gradient(ground, outer_phase(learner), weights, episodes)
    expected = {n: torch.zeros_like(t) for n, t in weights.items()}
    for e in range(len(episodes)):
        own = tune(ground, learner, weights, episodes[e : e + 1], key(0).child("episode", e))
        leaves = {n: t.detach().requires_grad_() for n, t in own.items()}
        loss = CrossEntropy()(respond(ground, learner.then, leaves, episodes[e : e + 1], key(0))).sum() / len(episodes)
        for n, g in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            expected[n] += g
    for n in weights:
        torch.testing.assert_close(found[n], expected[n], rtol=1e-12, atol=1e-14)


def test_inner_steps_are_those_of_torch_optim(ground: Ground, episodes: Episodes) -> None:
    weights = {**ground.backbone.start(), **shared_head()}
    one = episodes[:1]
    head = Linear(start="shared")
    inner = Phase(sampler=Pooled(), learner=head, plan=everything(0.05), steps=4, optimizer=AdamW(weight_decay=0.1))
    own = tune(ground, Adapt(phases=(inner,), then=head), weights, one, key(0))
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, WIDTH)).double()
    network.load_state_dict(ground.backbone.start())
    top = nn.Linear(WIDTH, WAYS).double()
    top.load_state_dict({"weight": weights["head.weight"], "bias": weights["head.bias"]})
    optimizer = torch.optim.AdamW([*network.parameters(), *top.parameters()], lr=0.05, weight_decay=0.1)
    x = torch.from_numpy(np.stack([np.asarray(ground.space.fetch(int(r))) for r in one.support[0]])).double()
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(top(network(x)), one.support_label[0]).backward()
        optimizer.step()
    torch.testing.assert_close(own["0.weight"], network[0].weight.detach(), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(own["head.bias"], top.bias.detach(), rtol=1e-9, atol=1e-11)


def test_inner_batches_are_drawn_one_after_another(ground: Ground, episodes: Episodes) -> None:
    """Batches of 2 rows over 3 steps, an epoch of the support: plain SGD by hand on the batches in their order."""
    weights, sampler = {**ground.backbone.start(), **shared_head()}, Pooled(batch=2)
    learner = maml(rate=0.4, steps=3, sampler=sampler, batch=1)
    one = episodes[:1]
    own = tune(ground, learner, weights, one, key(0))
    hand = {n: t.clone().requires_grad_() for n, t in weights.items()}
    for number in range(3):
        drawn = sampler.draw(support_tasks(one), key(0).child("phase", 0).child("draw"), number, 1)
        x = torch.from_numpy(np.stack([np.asarray(ground.space.fetch(int(r))) for r in drawn.query[0]])).double()
        hidden = torch.tanh(x @ hand["0.weight"].T + hand["0.bias"])
        logits = (hidden @ hand["2.weight"].T + hand["2.bias"]) @ hand["head.weight"].T + hand["head.bias"]
        loss = nn.functional.cross_entropy(logits, drawn.query_label[0])
        found = torch.autograd.grad(loss, list(hand.values()))
        hand = {n: (t - 0.4 * g).detach().requires_grad_() for (n, t), g in zip(hand.items(), found, strict=True)}
    for n in own:
        torch.testing.assert_close(own[n], hand[n].detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("aggregator", [Mean(), WorstCase(), PcGrad()])
def test_a_batch_in_parts_is_the_whole_batch(ground: Ground, tasks: Tasks, aggregator: object) -> None:
    weights, drawn = ground.backbone.start(), some_episodes(tasks, 5)
    phase = outer_phase(Centroid(), aggregator=aggregator)
    whole, parts = (gradient(ground, phase, weights, drawn, parts=number) for number in (1, 3))
    for n in weights:
        torch.testing.assert_close(parts[n], whole[n], rtol=1e-10, atol=1e-13)


def test_the_reptile_direction_is_start_minus_tuned(ground: Ground, episodes: Episodes) -> None:
    weights = {**ground.backbone.start(), **shared_head()}
    learner = maml(rate=0.2, steps=3, through="first_order")
    found = gradient(ground, outer_phase(learner, losses=(Displacement(),)), weights, episodes)
    for n in weights:
        ends = [tune(ground, learner, weights, episodes[e : e + 1], key(0).child("episode", e))[n] for e in range(2)]
        torch.testing.assert_close(found[n], weights[n] - torch.stack(ends).mean(0).detach(), rtol=1e-10, atol=1e-13)


def test_frozen_is_bitwise_and_a_run_repeats(ground: Ground, tasks: Tasks) -> None:
    phase = Phase(sampler=Sampled(ways=WAYS, shots=1, queries=2), learner=Centroid(), plan=only("2.*", 0.05), steps=4, batch=2)
    first, second = (train(ground, (phase,), tasks, key(7)).weights for _ in range(2))
    for n in first:
        assert torch.equal(first[n], second[n])
    assert torch.equal(first["0.weight"], ground.backbone.start()["0.weight"])
    assert not torch.equal(first["2.weight"], ground.backbone.start()["2.weight"])


def test_multitask_finetuning_is_a_plain_loop(ground: Ground, tasks: Tasks) -> None:
    """Episodes, prototypes, cross-entropy, SGD with momentum, written out by hand."""
    sampler = Sampled(ways=WAYS, shots=1, queries=3)
    phase = Phase(sampler=sampler, learner=Centroid(), plan=only(("0.*", "2.*"), 0.05), steps=5, optimizer=SGD(momentum=0.9))
    found = train(ground, (phase,), tasks, key(3)).weights
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, WIDTH)).double()
    network.load_state_dict(ground.backbone.start())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    rows = torch.from_numpy(np.stack([np.asarray(ground.space.fetch(i)) for i in range(60)])).double()
    for number in range(5):
        one = sampler.draw(tasks, key(3).child("source", 0).child("draw"), number, 1)
        unit = nn.functional.normalize
        support, query = unit(network(rows[one.support[0]]), dim=1), unit(network(rows[one.query[0]]), dim=1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(10 * query @ support.T, one.query_label[0]).backward()
        optimizer.step()
    torch.testing.assert_close(found["0.weight"], network[0].weight.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("aggregator", [Fixed(weights=(1.0,)), WorstCase(), PcGrad()])
def test_one_task_is_itself_under_every_aggregator(ground: Ground, episodes: Episodes, aggregator: object) -> None:
    weights = ground.backbone.start()
    one = episodes[:1]
    plain = gradient(ground, outer_phase(Centroid()), weights, one)
    other = gradient(ground, outer_phase(Centroid(), aggregator=aggregator), weights, one)
    for n in weights:
        torch.testing.assert_close(other[n], plain[n])


def test_the_mean_weighs_tasks_and_not_episodes(ground: Ground, tasks: Tasks) -> None:
    weights = ground.backbone.start()
    drawn = Sampled(ways=WAYS, shots=2, queries=3).draw(tasks, key(5), 0, 4)
    uneven = replace(drawn, task=torch.tensor([7, 7, 7, 2]))
    found = gradient(ground, outer_phase(Centroid()), weights, uneven)
    often, once = (gradient(ground, outer_phase(Centroid()), weights, drawn[part]) for part in (slice(0, 3), slice(3, 4)))
    for n in weights:  # a task that is absent is not there: the mean is over two
        torch.testing.assert_close(found[n], (often[n] + once[n]) / 2)


def test_an_anchor_holds_the_inner_weights_near_their_start(ground: Ground, episodes: Episodes) -> None:
    weights = {**ground.backbone.start(), **shared_head()}

    def moved(strength: float) -> float:
        learner = maml(rate=0.1, steps=10, through="first_order", losses=(CrossEntropy(), Anchor(strength=strength)))
        own = tune(ground, learner, weights, episodes[:1], key(0))
        return float(sum(((own[n] - weights[n]) ** 2).sum() for n in own))

    assert moved(5.0) < moved(0.5) < moved(0.0)


@pytest.mark.parametrize("given", [{"clip": 1.0}, {"keep": Ema()}])
def test_what_inner_loops_do_not_do_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match="found one with clip or keep"):
        maml(steps=1, **given)


def test_a_head_that_reads_a_support_needs_one(ground: Ground, tasks: Tasks) -> None:
    phase = Phase(sampler=Pooled(batch=8), learner=Centroid(), plan=everything(0.1), steps=1)
    with pytest.raises(InputError, match="Centroid learns from a support, but the sampler draws none"):
        train(ground, (phase,), tasks, key(0))


def test_a_learned_rate_that_would_get_no_gradient_is_refused() -> None:
    head = Linear(start="shared")
    inner = Phase(sampler=Pooled(), learner=head, plan=everything(Learned(lr=0.1)), steps=1)
    with pytest.raises(InputError, match="through='unroll'"):
        Adapt(phases=(inner,), then=head, through="first_order")
