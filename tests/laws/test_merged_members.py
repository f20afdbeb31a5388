"""Rules of `Average` inside the engine: what they merge are the ends of its members, in source phases and inside `Adapt`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.layer_inputs import input_grams
from fewtune.learning.phase import Adapt, Average, Phase
from fewtune.learning.train import train
from fewtune.parts.heads import Centroid
from fewtune.parts.merging import Dare, RegMean, TaskArithmetic, Ties, Uniform, merge
from fewtune.parts.plan import everything
from fewtune.recipes import read_method
from fewtune.spec import text
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS

NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


def phase(rate: float) -> Phase:
    return Phase(sampler=Sampled(ways=WAYS, shots=2, queries=3), learner=Centroid(), plan=everything(rate), steps=2)


MEMBERS = ((phase(0.1),), (phase(0.4),), ())


def ends(ground: Ground, tasks: Tasks) -> list[dict[str, Tensor]]:
    """Each member alone: the others have no weight."""
    return [
        train(ground, (Average(members=MEMBERS, weights=tuple(float(i == n) for i in range(3))),), tasks, key(4)).weights for n in range(3)
    ]


@pytest.mark.parametrize("rule", [Uniform(), TaskArithmetic(), Ties(density=0.5), Dare(keep=0.7, rule=Ties())], ids=text)
def test_a_rule_merges_the_ends_of_its_members(ground: Ground, tasks: Tasks, rule: Any) -> None:
    found = train(ground, (Average(members=MEMBERS, rule=rule),), tasks, key(4)).weights
    expected = merge(rule, ground.start(), ends(ground, tasks))
    for n in NAMES:
        torch.testing.assert_close(found[n], expected[n], rtol=1e-10, atol=1e-12)
    assert not torch.equal(found["2.weight"], ground.start()["2.weight"])


def test_a_uniform_rule_is_equal_weights(ground: Ground, tasks: Tasks) -> None:
    one = train(ground, (Average(members=MEMBERS, rule=Uniform()),), tasks, key(4)).weights
    two = train(ground, (Average(members=MEMBERS, weights=(1 / 3, 1 / 3, 1 / 3)),), tasks, key(4)).weights
    for n in NAMES:
        torch.testing.assert_close(one[n], two[n], rtol=1e-12, atol=1e-13)


def test_a_rule_inside_adapt(ground: Ground, weights: dict[str, Tensor], episodes: Any) -> None:
    def own(step: Average) -> dict[str, Tensor]:
        return tune(ground, Adapt(phases=(step,), then=Centroid()), weights, episodes[:1], key(2))

    inner = tuple(
        (Phase(sampler=Sampled(ways=WAYS, shots=1, queries=1), learner=Centroid(), plan=everything(r), steps=2),) for r in (0.1, 0.5)
    )
    one = own(Average(members=inner, rule=Uniform()))
    two = own(Average(members=inner, weights=(0.5, 0.5)))
    assert one.keys() == two.keys() and {*NAMES} <= one.keys()
    for n in one:
        torch.testing.assert_close(one[n], two[n], rtol=1e-12, atol=1e-13)


def test_grams_are_those_of_the_layers_inputs(ground: Ground) -> None:
    rows = list(range(10))
    found = input_grams(ground, ground.start(), rows)
    inputs = torch.stack([ground.backbone.preparation.prepare(ground.space.fetch(row)) for row in rows])
    start = ground.start()
    hidden = torch.tanh(inputs @ start["0.weight"].T + start["0.bias"])
    assert found.keys() == {"0.weight", "2.weight"}
    torch.testing.assert_close(found["0.weight"], inputs.T @ inputs)
    torch.testing.assert_close(found["2.weight"], hidden.T @ hidden)
    moved = {n: 2 * t for n, t in start.items()}
    assert not torch.equal(input_grams(ground, moved, rows)["2.weight"], found["2.weight"])
    assert input_grams(ground, start, []) == {}


def test_regmean_reads_the_inputs_of_every_member(ground: Ground, tasks: Tasks) -> None:
    """On the same rows for both members, the merged first layer reads the same inputs: it is the mean. The second one does not."""
    both = (MEMBERS[0], MEMBERS[1])
    found = train(ground, (Average(members=both, rule=RegMean(shrink=1.0)),), tasks, key(4)).weights
    first, second = ends(ground, tasks)[:2]
    assert not torch.allclose(found["2.weight"], (first["2.weight"] + second["2.weight"]) / 2, rtol=1e-4)
    torch.testing.assert_close(found["0.bias"], (first["0.bias"] + second["0.bias"]) / 2)
    again = train(ground, (Average(members=both, rule=RegMean(shrink=1.0)),), tasks, key(4)).weights
    assert torch.equal(found["2.weight"], again["2.weight"])


def test_a_soup_by_a_rule_and_what_does_not_go_together() -> None:
    method = read_method("soup(lrs=(0.001, 0.01), rule=Ties(density=0.5))")
    (step,) = method.phases
    assert isinstance(step, Average) and step.rule == Ties(density=0.5) and step.weights == ()
    with pytest.raises(InputError, match="greedy soup is a mean"):
        read_method("soup(how='greedy', rule=Uniform())")
    with pytest.raises(InputError, match="weights or a rule"):
        Average(members=((),), weights=(1.0,), rule=Uniform())
    with pytest.raises(InputError, match="summing to 1"):
        Average(members=((),))
