"""Gradients of tasks that meet at the features: one backward pass through the head for all tasks gives what a pass for each gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.slopes import Apart
from fewtune.machine import Machine
from fewtune.parts.aggregators import MinNorm, PcGrad
from fewtune.parts.heads import Matching
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy
from fewtune.parts.plan import everything
from fewtune.parts.sharing import SharedBottom
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.per_task import PerTask
from tests.laws.grounds import INPUTS, WIDTH, Doubles

ROWS, CLASSES, TASKS = 12, 3, 4
TABLE = Linear(rows="class", start="random")


class Squared(torch.autograd.Function):
    """An operation without a rule for batches of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2 / 4 + x

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return torch.from_numpy(slope.numpy() * (x / 2 + 1).detach().numpy())  # NumPy sees one gradient at a time


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Squared.apply(x)  # type: ignore[no-untyped-call]
        return found


NETWORKS: Mapping[str, tuple[nn.Module, ...]] = {
    "linear": (nn.Linear(INPUTS, 6), nn.ReLU(), nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, WIDTH)),
    "norm": (nn.Linear(INPUTS, 6), nn.LayerNorm(6), nn.Linear(6, WIDTH)),
    "odd": (nn.Linear(INPUTS, 6), Odd(), nn.Linear(6, WIDTH)),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each part of a batch was read apart."""
    found: list[bool] = []
    of = Apart.of

    def noting(*given: Any) -> Apart | None:
        one = of(*given)
        found.append(one is not None)
        return one

    monkeypatch.setattr(Apart, "of", noting)
    yield found


def ground_of(kind: str) -> Ground:
    random = np.random.default_rng(0)
    names = [f"{t}.{c}" for t in range(TASKS) for c in range(CLASSES)]
    space = RowSpace(
        [make_examples(Vectors(random.normal(size=(ROWS, INPUTS)).astype(np.float32)), np.zeros(ROWS, int), class_names=names)]
    )
    network = nn.Sequential(*NETWORKS[kind]).double().eval()
    names = [n for n, _ in network.named_parameters()]
    return Ground(
        Backbone("test", network, Doubles(), WIDTH, (("all", tuple(names)),), Machine(device="cpu").resolved(), {}, "test"), space
    )


def episodes_of(rows: str) -> Episodes:
    """Rows that all tasks ask for in the same order; the same rows in other orders, some twice, some padded; or different rows."""
    random = np.random.default_rng(1)
    query = torch.arange(ROWS).expand(TASKS, ROWS).clone()
    classes, task = torch.arange(TASKS * CLASSES).view(TASKS, CLASSES).clone(), torch.arange(TASKS)
    if rows == "mixed":  # two episodes of task 3, none of task 1, classes in common, a padded class
        query = torch.from_numpy(random.integers(0, ROWS, (TASKS, 7)))
        query[0, 5:] = -1
        task, classes[1], classes[2, 2] = torch.tensor([0, 3, 2, 3]), classes[0], -1
    if rows == "different":
        query = torch.from_numpy(random.permutation(ROWS)).view(TASKS, -1)
    label = torch.from_numpy(random.integers(0, 2, tuple(query.shape))).masked_fill(query < 0, -1)
    none = torch.zeros(TASKS, 0, dtype=torch.int64)
    return Episodes(none, none, query, label, classes, task)


def found(ground: Ground, aggregator: Any, episodes: Episodes, head: Any = TABLE, **given: Any) -> dict[str, Tensor]:
    """The direction of one step by everything but temperatures."""
    parts = given.pop("parts", 1)
    phase = Phase(sampler=PerTask(), learner=head, plan=everything(0.1), steps=1, batch=TASKS, aggregator=aggregator, **given)
    weights = {n: t.double() if t.is_floating_point() else t for n, t in {**ground.start(), **ground.declared(head)}.items()}
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items() if t.is_floating_point() and "temperature" not in n}
    answer = answering(ground, phase, {**weights, **leaves}, key(3), origin=weights)
    gradients, _ = direction(phase, answer, leaves, episodes, key(3), origin={n: t + 0.1 for n, t in weights.items()}, parts=parts)
    return {n: torch.zeros_like(leaves[n]) if g is None else g for n, g in gradients.items()}


def near(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    assert all(float(expected[n].abs().max()) > 1e-4 for n in expected)
    for n in expected:
        torch.testing.assert_close(ours[n], expected[n], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("aggregator", [PcGrad(gram="layer", scale="own"), MinNorm(gram="layer", scale="own")], ids=repr)
@pytest.mark.parametrize("rows", ["same", "mixed", "different"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_apart_are_those_of_the_whole(taken: list[bool], kind: str, rows: str, aggregator: Any) -> None:
    """Beside whole gradients a task, and beside a batch in parts, whose update is a backward pass of the weighted losses."""
    ground, episodes = ground_of(kind), episodes_of(rows)
    ours = found(ground, aggregator, episodes)
    assert taken == [True]
    near(ours, found(ground, replace(aggregator, gram="exact"), episodes))
    near(found(ground, aggregator, episodes, parts=3), ours)
    assert taken == [True] * 4


@pytest.mark.parametrize("rows", ["same", "mixed", "different"])
def test_by_features_the_update_is_that_of_the_weighted_losses(taken: list[bool], rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ground, episodes = ground_of("norm"), episodes_of(rows)
    aggregator = PcGrad(gram="representation", scale="own")
    ours = found(ground, aggregator, episodes)
    assert taken == [True]
    near(found(ground, aggregator, episodes, parts=2), ours)
    monkeypatch.setattr(Apart, "of", lambda *_: None)
    near(ours, found(ground, aggregator, episodes))


def test_where_the_losses_read_weights_otherwise_a_pass_a_task_is_made(taken: list[bool]) -> None:
    """An Anchor, a head whose tasks share a trunk, and one that reads nothing but features, with one embedding or two."""
    ground, episodes = ground_of("linear"), episodes_of("mixed")
    layered = PcGrad(gram="layer", scale="own")
    losses = (CrossEntropy(), Anchor(strength=0.3))
    near(found(ground, layered, episodes, losses=losses), found(ground, PcGrad(scale="own"), episodes, losses=losses))
    assert taken == [False]
    head = SharedBottom(outputs=(CLASSES,) * TASKS, width=5)
    shared = found(ground, layered, episodes_of("same"), head)
    whole = found(ground, PcGrad(scale="own"), episodes_of("same"), head)
    for n in whole:
        torch.testing.assert_close(shared[n], whole[n], rtol=1e-5, atol=1e-9)
    assert taken == [False, False]


def test_heads_that_read_the_support_are_apart_too(taken: list[bool]) -> None:
    ground, same = ground_of("linear"), episodes_of("different")
    support = torch.arange(CLASSES * 2).expand(TASKS, -1)
    episodes = replace(same, support=support, support_label=(torch.arange(CLASSES * 2) // 2).expand(TASKS, -1))
    ours = found(ground, PcGrad(gram="layer", scale="own"), episodes, Matching())
    assert taken == [True]
    whole = found(ground, PcGrad(scale="own"), episodes, Matching())
    for n in whole:
        torch.testing.assert_close(ours[n], whole[n], rtol=1e-9, atol=1e-11)
