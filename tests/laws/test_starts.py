"""Losses that remember the start: Anchor's point and Distil's teacher, by hand in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Average, Phase
from fewtune.learning.train import train
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy, Distil, Loss
from fewtune.parts.plan import everything, only
from fewtune.recipes.language import read_method
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS, Asked, differences, gradient, maml, near, outer_phase, query_loss, shared_head

HEAD = Linear(start="shared", ways=WAYS)
RATE = 0.2


def inner(steps: int, *losses: Loss) -> Phase:
    return Phase(sampler=Pooled(), learner=HEAD, plan=everything(RATE), steps=steps, losses=(CrossEntropy(), *losses))


def logits(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
    hidden = torch.tanh(rows @ weights["0.weight"].T + weights["0.bias"]) @ weights["2.weight"].T + weights["2.bias"]
    return hidden @ weights["head.weight"].T + weights["head.bias"]


def by_hand(
    start: dict[str, Tensor], rows: Tensor, label: Tensor, steps: int, *, anchor: float = 0.0, near: dict[str, Tensor], T: float = 0.0
) -> dict[str, Tensor]:
    """Steps of plain gradient descent on cross-entropy, strength / 2 |theta - near|^2 and T^2 KL(answers by `near` || answers)."""
    weights = start
    for _ in range(steps):
        leaf = {n: t.detach().requires_grad_() for n, t in weights.items()}
        said = logits(leaf, rows)
        loss = nn.functional.cross_entropy(said, label) + anchor / 2 * sum(((leaf[n] - near[n]) ** 2).sum() for n in leaf)
        if T:
            wanted = torch.log_softmax(logits(near, rows) / T, 1)
            loss = loss + T**2 * nn.functional.kl_div(torch.log_softmax(said / T, 1), wanted, log_target=True, reduction="batchmean")
        weights = {n: (leaf[n] - RATE * g).detach() for n, g in zip(leaf, torch.autograd.grad(loss, list(leaf.values())), strict=True)}
    return weights


def rows_of(ground: Ground, episodes: Episodes) -> Tensor:
    prepared: Tensor = ground.space.gather(episodes.support[0].tolist(), ground.backbone.preparation)
    return prepared


@pytest.mark.parametrize("inside", [False, True])
def test_an_anchor_in_a_second_inner_phase_holds_the_start_of_the_episode(ground: Ground, episodes: Episodes, inside: bool) -> None:
    start, one = {**ground.backbone.start(), **shared_head()}, episodes[:1]
    rows, label = rows_of(ground, one), one.support_label[0]
    second = inner(3, Anchor(strength=1.5))
    step = Average(members=((second,),), weights=(1.0,)) if inside else second
    found = tune(ground, Adapt(phases=(inner(2), step), then=HEAD), start, one, key(0))
    first = by_hand(start, rows, label, 2, near=start)
    expected = by_hand(first, rows, label, 3, anchor=1.5, near=start)
    for n in start:
        torch.testing.assert_close(found[n], expected[n], rtol=1e-9, atol=1e-11)
    other = by_hand(first, rows, label, 3, anchor=1.5, near=first)
    assert max(float((other[n] - expected[n]).abs().max()) for n in start) > 1e-3


def test_an_anchor_in_a_second_source_phase_holds_the_start_of_that_phase(ground: Ground, tasks: Tasks) -> None:
    """With a strength of 1 / rate one step of the anchor alone would go back to the point that it holds."""
    plain = Phase(sampler=Sampled(ways=WAYS, shots=2, queries=3), learner=Centroid(), plan=only(("0.*", "2.*"), 0.1), steps=2)
    first = train(ground, (plain,), tasks, key(3)).weights
    losses = (CrossEntropy(), Anchor(strength=10.0))
    both = train(ground, (plain, replace(plain, losses=losses, steps=1)), tasks, key(3)).weights
    free = train(ground, (plain, replace(plain, steps=1)), tasks, key(3)).weights
    assert not torch.equal(first["0.weight"], both["0.weight"])
    for n in both:  # at its start an anchor has no slope
        torch.testing.assert_close(both[n], free[n], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("T", [1.0, 3.0])
def test_distilling_inside_adapt_keeps_what_the_start_answered(ground: Ground, episodes: Episodes, T: float) -> None:
    start, one = {**ground.backbone.start(), **shared_head()}, episodes[:1]
    rows, label = rows_of(ground, one), one.support_label[0]
    learner = Adapt(phases=(inner(2), inner(3, Distil(temperature=T))), then=HEAD)
    found = tune(ground, learner, start, one, key(0))
    expected = by_hand(by_hand(start, rows, label, 2, near=start), rows, label, 3, near=start, T=T)
    for n in start:
        torch.testing.assert_close(found[n], expected[n], rtol=1e-9, atol=1e-11)


def test_distilling_in_a_source_phase_is_a_plain_loop(ground: Ground, tasks: Tasks) -> None:
    """Multitask finetuning that keeps its answers: the teacher is nearest centroid on the features of the start."""
    T, steps, rate = 2.0, 4, 0.05
    sampler = Sampled(ways=WAYS, shots=2, queries=3)
    losses = (CrossEntropy(), Distil(temperature=T, weight=0.7))
    phase = Phase(sampler=sampler, learner=Centroid(), plan=only(("0.*", "2.*"), rate), steps=steps, batch=2, losses=losses)
    ended = train(ground, (phase,), tasks, key(3))
    start = ground.backbone.start()
    rows = ground.space.gather(range(60), ground.backbone.preparation)

    def answers(weights: dict[str, Tensor], episodes: Episodes, e: int) -> Tensor:
        features = torch.tanh(rows @ weights["0.weight"].T + weights["0.bias"]) @ weights["2.weight"].T + weights["2.bias"]
        of = nn.functional.normalize(features, dim=1)
        means = torch.stack([of[episodes.support[e][episodes.support_label[e] == k]].mean(0) for k in range(WAYS)])
        return 10 * of[episodes.query[e]] @ nn.functional.normalize(means, dim=1).T

    weights = start
    for number in range(steps):
        drawn = sampler.draw(tasks, key(3).child("source", 0).child("draw"), 2 * number, 2)
        leaf = {n: t.detach().requires_grad_() for n, t in weights.items()}
        whole = torch.zeros((), dtype=torch.float64)
        for e in range(2):
            said, taught = answers(leaf, drawn, e), answers(start, drawn, e)
            student, teacher = (torch.log_softmax(z / T, 1) for z in (said, taught))
            whole = whole + nn.functional.cross_entropy(said, drawn.query_label[e]) / 2
            whole = whole + 0.7 * T**2 * nn.functional.kl_div(student, teacher, log_target=True, reduction="batchmean") / 2
        assert ended.curve[number]["loss"] == pytest.approx(float(whole.detach()), rel=1e-9)
        weights = {n: (leaf[n] - rate * g).detach() for n, g in zip(leaf, torch.autograd.grad(whole, list(leaf.values())), strict=True)}
    for n in start:
        torch.testing.assert_close(ended.weights[n], weights[n], rtol=1e-9, atol=1e-11)
    plain = train(ground, (replace(phase, losses=(CrossEntropy(),)),), tasks, key(3))
    assert plain.visits == ended.visits  # the teacher's rows are not counted


def test_a_teacher_leaves_gradients_through_an_inner_loop_alone(ground: Ground, episodes: Episodes) -> None:
    """Unrolled, a head alone moves: the features, which the teacher reads too, keep their gradients. The teacher is a constant."""
    weights = {**ground.backbone.start(), **shared_head()}
    plain, kept = (maml(steps=2, plan="head.*", losses=losses) for losses in ((CrossEntropy(),), (CrossEntropy(), Distil(weight=0.0))))
    first, second = (gradient(ground, outer_phase(learner), weights, episodes) for learner in (plain, kept))
    for n in weights:
        torch.testing.assert_close(first[n], second[n], rtol=1e-9, atol=1e-12)
    near(first["0.weight"], differences(lambda nudged: query_loss(ground, plain, nudged, episodes), weights, "0.weight"))


def test_a_method_can_be_written_with_a_teacher(ground: Ground, tasks: Tasks) -> None:
    spelled = (
        "Phase(sampler=Sampled(ways=3,shots=2,queries=3),learner=Centroid(),plan=everything(0.05),steps=3,losses=(CrossEntropy(),Distil()))"
    )
    method = read_method(f"Method(phases=({spelled},),learner=Centroid())")
    seen = Asked(method.phases[0].sampler, 0, lambda: None)  # type: ignore[union-attr]
    assert len(train(ground, method.phases, tasks, key(0)).curve) == 3 and not seen.seen
