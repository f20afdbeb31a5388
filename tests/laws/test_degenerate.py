"""Degenerate cases: where one method is another, the engine must find them equal (DESIGN, section 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.declared import begin
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering, respond, tune
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Average, Greedy, Phase, phases_of
from fewtune.learning.soup import greedy
from fewtune.learning.train import train
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Displacement
from fewtune.parts.plan import Plan, everything, only
from fewtune.parts.rates import Learned
from fewtune.recipes import read_method
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS, differences, gradient, maml, near, outer_phase, query_loss

WHOLE = 60  # rows of the ground: a batch of all of them is the same in every order


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """What parts declare is float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], **tolerance: float) -> None:
    assert set(found) == set(expected)
    for n in expected:
        torch.testing.assert_close(found[n], expected[n], **(tolerance or {"rtol": 1e-9, "atol": 1e-11}))


def trained(ground: Ground, tasks: Tasks, method: Method, **given: Any) -> dict[str, Tensor]:
    return train(ground, method.phases, tasks, key(4), **given).weights


def answers(ground: Ground, method: Method, episodes: Episodes) -> Tensor:
    return respond(ground, method.learner, ground.start(), episodes, key(0)).logits.detach()


@pytest.mark.parametrize("through", ["unroll", "first_order"])
@pytest.mark.parametrize("then", [Linear(start="shared"), Centroid()])
def test_no_inner_steps_are_the_start(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes, through: str, then: Linear | Centroid
) -> None:
    adapt = replace(maml(steps=0, through=through), then=then)
    a, b = (respond(ground, learner, weights, episodes, key(0)).logits for learner in (adapt, then))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)  # one at a time and together: rounding apart, the same
    close(gradient(ground, outer_phase(adapt), weights, episodes), gradient(ground, outer_phase(then), weights, episodes))


@pytest.mark.parametrize("through", ["unroll", "first_order"])
def test_a_vanishing_inner_rate_is_the_pooled_query_gradient(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes, through: str
) -> None:
    plain = gradient(ground, outer_phase(Linear(start="shared")), weights, episodes)
    nearly = gradient(ground, outer_phase(maml(rate=1e-9, steps=2, through=through)), weights, episodes)
    close(nearly, plain, rtol=1e-6, atol=1e-8)
    assert query_loss(ground, maml(rate=1e-9, steps=2), weights, episodes) == pytest.approx(
        query_loss(ground, Linear(start="shared"), weights, episodes), abs=1e-8
    )


def plan_of(method: Method) -> Plan:
    assert isinstance(method.phases[0], Phase)
    return phases_of(method.phases[0].learner.phases)[0].plan  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "inner"), [("anil", "head"), ("boil", "body")])
def test_anil_and_boil_are_maml_but_for_the_inner_plan(name: str, inner: str) -> None:
    assert read_method(name) == read_method(f"maml(inner={inner!r})") != read_method("maml")
    if name == "anil":  # boil's head begins at random, too
        every = repr(read_method(name)).replace(repr(plan_of(read_method(name))), repr(plan_of(read_method("maml"))))
        assert every == repr(read_method("maml"))
    assert read_method("fomaml") == read_method("maml(through='first_order')")
    assert plan_of(read_method("maml(inner_lr=0.03, head_lr=0.3)")) == Plan(rules=(("head.*", 0.3), ("*", 0.03)))
    with pytest.raises(InputError, match="is for an inner loop over all weights, found inner='head'"):
        read_method("maml(head_lr=0.3, inner='head')")
    assert read_method("minibatch_prox(strength=0.0, inner_batch=0)") == read_method("reptile(inner_batch=0)")


def test_anil_is_steps_of_a_head_on_features_that_stay(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> None:
    learner, one = maml(steps=3, plan="head.*"), episodes[:1]
    own = tune(ground, learner, weights, one, key(0))
    features = ground.embed(ground.backbone.start(), one.support)[0]
    top = nn.Linear(features.shape[1], WAYS)
    top.load_state_dict({"weight": weights["head.weight"], "bias": weights["head.bias"]})
    optimizer = torch.optim.SGD(top.parameters(), lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(top(features), one.support_label[0]).backward()
        optimizer.step()
    close(own, {"head.weight": top.weight.detach(), "head.bias": top.bias.detach()})
    found = gradient(ground, outer_phase(learner), weights, episodes)
    for name in weights:  # through the features too, which the inner loop does not move
        near(found[name], differences(lambda nudged: query_loss(ground, learner, nudged, episodes), weights, name, count=1))


def test_boil_keeps_its_head_in_the_inner_loop(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> None:
    learner = maml(steps=2, plan=Plan(rules=(("head.*", 0.0), ("*", 0.3))))
    own = tune(ground, learner, weights, episodes[:1], key(0))
    assert set(own) == set(ground.parameters)
    assert all(not torch.equal(own[n], weights[n]) for n in own)
    found = gradient(ground, outer_phase(learner), weights, episodes)
    assert found["head.weight"].abs().max() > 1e-3  # the outer loop moves it


def test_reptile_by_one_plain_step_is_gradient_descent_on_the_support(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes, tasks: Tasks
) -> None:
    """SGD at rate outer x inner."""
    inner, outer = 0.2, 0.7
    learner = maml(rate=inner, steps=1, through="first_order")
    reptile = outer_phase(learner, losses=(Displacement(),), plan=everything(outer), batch=2)
    turned = replace(episodes, query=episodes.support, query_label=episodes.support_label)
    plain = gradient(ground, outer_phase(Linear(start="shared")), weights, turned)
    close(gradient(ground, reptile, weights, episodes), {n: inner * g for n, g in plain.items()})

    weights = begin(ground, (reptile,))
    found = train(ground, (replace(reptile, steps=3),), tasks, key(4)).weights
    for number in range(3):
        drawn = reptile.sampler.draw(tasks, key(4).child("source", 0).child("draw"), 2 * number, 2)
        turned = replace(drawn, query=drawn.support, query_label=drawn.support_label)
        slope = gradient(ground, outer_phase(Linear(start="shared")), weights, turned)
        weights = {n: t - outer * inner * slope[n] for n, t in weights.items()}
    close(found, weights)


@pytest.mark.parametrize("on", ["source", "support"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("linear_probe_then_finetune(probe_steps=4, probe_lr=0.1, steps=0{})", "PROBE"),
        ("surgical('*', steps=3, lr=0.1{})", "standard(steps=3, lr=0.1{})"),
        ("l2_sp(strength=0.0, steps=3, lr=0.1{})", "standard(steps=3, lr=0.1{})"),
        ("layerwise(decay=1.0, steps=3, lr=0.1{})", "standard(steps=3, lr=0.1{})"),
        ("gradual_unfreezing(every=0, steps=3, lr=0.1{})", "standard(steps=3, lr=0.1{})"),
        ("wise_ft(share=1.0, steps=3, lr=0.1{})", "standard(steps=3, lr=0.1{})"),
        ("wise_ft(share=0.0, steps=3, lr=0.1{})", "standard(steps=0, lr=0.1{})"),
    ],
)
def test_one_recipe_is_another(ground: Ground, tasks: Tasks, episodes: Episodes, one: str, other: str, on: str) -> None:
    filled = f", on={on!r}, batch={WHOLE}"
    first = read_method(one.format(filled))
    if other == "PROBE":  # the head alone, in features that stay
        plain = read_method(f"standard(steps=4, lr=0.1{filled})")
        (phase,) = phases_of(plain.phases or plain.learner.phases)  # type: ignore[union-attr]
        head = only(f"{phase.learner.name}.*", 0.1)  # type: ignore[union-attr]
        phase = replace(phase, plan=head)
        second = Method(phases=(phase,), learner=plain.learner) if on == "source" else Method(learner=_with(plain.learner, phase))
    else:
        second = read_method(other.format(filled))
    if on == "source":
        close(trained(ground, tasks, first), trained(ground, tasks, second))
    else:
        torch.testing.assert_close(answers(ground, first, episodes), answers(ground, second, episodes), rtol=1e-9, atol=1e-11)


def _with(learner: object, phase: Phase) -> Adapt:
    assert isinstance(learner, Adapt)
    return replace(learner, phases=(phase,))


def test_a_soup_of_one_is_the_one(ground: Ground, tasks: Tasks) -> None:
    one = trained(ground, tasks, read_method(f"standard(steps=3, lr=0.1, batch={WHOLE})"))
    for how in ("uniform", "greedy"):
        found = trained(ground, tasks, read_method(f"soup(lrs=(0.1,), how={how!r}, steps=3, batch={WHOLE})"), validate=lambda _: 0.5)
        close(found, one)


def test_an_average_is_that_of_its_members(ground: Ground, tasks: Tasks) -> None:
    phases = [outer_phase(Linear(rows="class"), plan=everything(lr), steps=2) for lr in (0.1, 0.3)]
    found = train(ground, (Average(members=((phases[0],), (phases[1],), ()), weights=(0.5, 0.3, 0.2)),), tasks, key(0)).weights
    start = begin(ground, tuple(phases))
    moving = ground.movable(start)  # not the mark of the table's classes
    ends = []
    for number, phase in enumerate(phases):  # each in an order of its own
        at = key(0).child("source", 0, number, 0)
        leaves = {n: start[n].clone().requires_grad_() for n in moving}
        for step in range(2):
            drawn, its = phase.sampler.draw(tasks, at.child("draw"), step, 1), at.child("step", step)
            slope, _ = direction(phase, answering(ground, phase, {**start, **leaves}, its), leaves, drawn, its, origin=start)
            rate = (0.1, 0.3)[number]
            leaves = {n: (t - rate * (0 if (g := slope[n]) is None else g)).detach().requires_grad_() for n, t in leaves.items()}
        ends.append(leaves)
    close(found, {**start, **{n: (0.5 * ends[0][n] + 0.3 * ends[1][n] + 0.2 * start[n]).detach() for n in moving}})


@pytest.mark.parametrize(
    ("alone", "together", "taken"),
    [
        ((0.5, 0.7, 0.6), {(1, 2): 0.8, (0, 1, 2): 0.9}, (0, 1, 2)),
        ((0.5, 0.7, 0.6), {(1, 2): 0.6, (0, 1): 0.7}, (0, 1)),  # the second is worse with the best, the third no worse
        ((0.5, 0.7, 0.6), {(1, 2): 0.6, (0, 1): 0.6}, (1,)),
        ((0.7, 0.7, 0.1), {(0, 1): 0.71, (0, 1, 2): 0.5}, (0, 1)),
    ],
)
def test_a_greedy_soup_by_hand(alone: tuple[float, ...], together: dict[tuple[int, ...], float], taken: tuple[int, ...]) -> None:
    ends = [{"w": torch.eye(3)[i]} for i in range(3)]

    def accuracy(mean: Mapping[str, Tensor]) -> float:
        inside = tuple(mean["w"].nonzero()[:, 0].tolist())
        torch.testing.assert_close(mean["w"].sum(), torch.tensor(1.0))
        return alone[inside[0]] if len(inside) == 1 else together[inside]

    found = greedy(ends, accuracy)["w"]
    torch.testing.assert_close(found, torch.tensor([1.0 / len(taken) if i in taken else 0.0 for i in range(3)]))


def test_a_greedy_soup_is_trained_then_chosen(ground: Ground, tasks: Tasks) -> None:
    phases = [outer_phase(Linear(rows="class"), plan=everything(lr), steps=2) for lr in (0.1, 0.3)]
    start = begin(ground, tuple(phases))

    def still(weights: Mapping[str, Tensor]) -> float:  # whatever has moved less is better
        return -float((weights["0.weight"] - start["0.weight"]).norm())

    found = train(ground, (Greedy(members=tuple((p,) for p in phases)),), tasks, key(0), validate=still).weights
    alone = train(ground, (Average(members=((phases[0],), ()), weights=(1.0, 0.0)),), tasks, key(0)).weights
    close(found, alone)


def test_multitask_finetuning_by_squared_distance_is_protonet(ground: Ground, episodes: Episodes) -> None:
    given = "ways=3, shots=2, queries=3, steps=5, batch=2, lr=0.01, optimizer=SGD(momentum=0.9)"
    (multitask,) = phases_of(read_method(f"multitask({given})").phases)
    (protonet,) = phases_of(read_method(f"protonet({given})").phases)
    assert replace(multitask, learner=Centroid(metric="euclidean")) == protonet
    start = ground.backbone.start()
    rows = torch.cat([episodes.support, episodes.query], 1)
    features = ground.embed(start, rows)
    losses = []
    for e in range(len(episodes)):
        support, query = features[e, : 2 * WAYS], features[e, 2 * WAYS :]
        prototypes = torch.stack([support[episodes.support_label[e] == k].mean(0) for k in range(WAYS)])
        losses.append(nn.functional.cross_entropy(-(torch.cdist(query, prototypes) ** 2), episodes.query_label[e]))
    assert query_loss(ground, protonet.learner, start, episodes) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-10)


@pytest.mark.parametrize("per", ["tensor", "entry"])
def test_meta_sgd_is_maml_and_learns_its_rates(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes, tasks: Tasks, per: Any
) -> None:
    learner = maml(steps=2, plan=everything(Learned(lr=0.3, per=per)))
    rates = {f"rates.{n}": torch.full(t.shape if per == "entry" else (), 0.3) for n, t in weights.items()}
    whole = {**weights, **rates}
    found = gradient(ground, outer_phase(learner), whole, episodes)
    plain = gradient(ground, outer_phase(maml(rate=0.3, steps=2)), weights, episodes)
    close({n: found[n] for n in weights}, plain)
    for name in rates:
        near(found[name], differences(lambda nudged: query_loss(ground, learner, nudged, episodes), whole, name, count=1))
    held = outer_phase(maml(steps=2, plan=everything(Learned(lr=0.3, per=per))), plan=Plan(rules=(("rates.*", 0.0), ("*", 0.1))), steps=3)
    free = outer_phase(maml(rate=0.3, steps=2), plan=everything(0.1), steps=3)
    kept, other = (train(ground, (phase,), tasks, key(0)).weights for phase in (held, free))
    close({n: kept[n] for n in other}, other)
    moved = train(ground, (replace(held, plan=everything(0.1)),), tasks, key(0)).moved
    assert any(n.startswith("rates.") for n in moved)
