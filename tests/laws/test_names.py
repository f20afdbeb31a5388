"""Names: a plan for a head moves no weight of a backbone, and what one head has learned never stands in for what another was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.declared import begin, for_testing
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid, Linear, Logistic, Matching, Ridge, Svm
from fewtune.parts.heads.head import Head, answer, stored
from fewtune.parts.plan import Plan, everything, only, resolve
from fewtune.recipes.language import read_method
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows
from tests.laws.grounds import WAYS, Doubles, double_ground, some_episodes
from tests.tiny import images

HEADS = (
    Centroid(),
    Centroid(temperature=3.0),
    Centroid(normalize_first=False),
    Centroid(metric="euclidean"),
    Matching(),
    Matching(temperature=100.0),
    Matching(neighbours=2),
    Ridge(scale=10.0),
    Ridge(scale=10.0, penalty=10.0),
    Ridge(penalty="loo", scale=4.0),
    Logistic(),
    Svm(C=10.0, scale=2.0),
    Svm(C=0.1, scale=2.0),
)


def features_by_hand(weights: Mapping[str, Tensor], ground: Ground) -> Tensor:
    rows = ground.space.gather(range(60), ground.backbone.preparation)
    made: Tensor = torch.tanh(rows @ weights["0.weight"].T + weights["0.bias"]) @ weights["2.weight"].T + weights["2.bias"]
    return made.detach()


def source(head: Head, **given: Any) -> Phase:
    whole = {"sampler": Sampled(ways=WAYS, shots=2, queries=3), "learner": head, "plan": everything(0.05), "steps": 2, **given}
    return Phase(**whole)


@pytest.fixture(scope="module")
def trained() -> dict[Head, dict[str, Tensor]]:
    ground = double_ground()
    tasks = class_rows(ground.space)
    return {head: train(ground, (source(head),), tasks, key(0)).weights for head in HEADS}


@pytest.mark.parametrize("test", HEADS, ids=repr)
def test_a_test_head_is_what_its_spec_says_whatever_was_trained(
    ground: Ground, episodes: Episodes, trained: dict[Head, dict[str, Tensor]], test: Head
) -> None:
    """Over all pairs. The same head goes on with what it has learned; any other begins at its own settings."""
    for head, weights in trained.items():
        start = {n: t.double() for n, t in test.declare(4).items()}
        given = {n: weights[stored(test, n)].double() for n in start} if head == test else start
        if head == test and start:
            assert any(not torch.equal(given[n], start[n]) for n in start)
        features = features_by_hand(weights, ground)
        expected = answer(test, features[episodes.support], features[episodes.query], episodes, None, given)
        for held in (weights, for_testing(ground, test, weights)):
            found = respond(ground, test, held, episodes, key(0)).logits
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 10.0, 100.0])
def test_a_given_temperature_is_the_one_that_answers(ground: Ground, tasks: Tasks, temperature: float) -> None:
    """Softmax attention by hand, on the finetuned features."""
    method = read_method(f"multitask(ways=3,shots=2,queries=3,steps=3,head=matching(temperature={temperature}))")
    weights = train(ground, method.phases, tasks, key(0)).weights
    episodes = some_episodes(tasks, 8)
    unit = nn.functional.normalize(features_by_hand(weights, ground), dim=1)
    nats = []
    for e in range(8):
        attention = torch.softmax(temperature * unit[episodes.query[e]] @ unit[episodes.support[e]].T, dim=1)
        share = attention @ nn.functional.one_hot(episodes.support_label[e]).double()
        nats.append(-share.gather(1, episodes.query_label[e][:, None]).log().mean().item())
    np.testing.assert_allclose(score_each(ground, method.learner, weights, [episodes])[0].loss, nats, rtol=1e-4)


def test_heads_of_one_name_learn_each_for_itself(ground: Ground, tasks: Tasks) -> None:
    first, second = source(Centroid()), source(Matching(temperature=30.0))
    one, two = stored(Centroid(), "head.temperature"), stored(Matching(temperature=30.0), "head.temperature")
    assert one != two and one.startswith("head.Centroid-") and two.startswith("head.Matching-")
    assert one == stored(Centroid(temperature=10), "head.temperature")  # equal specs are one
    start = begin(ground, (first, second))
    assert (float(start[one]), float(start[two])) == (10.0, 30.0)
    ended = train(ground, (first, second), tasks, key(0))
    assert {one, two} <= {*ended.moved}
    assert float(ended.weights[one]) == float(train(ground, (first,), tasks, key(0)).weights[one])


def test_the_head_after_inner_steps_keeps_what_it_was_given(ground: Ground, episodes: Episodes) -> None:
    inner = Phase(sampler=Sampled(ways=WAYS, shots=1, queries=1), learner=Centroid(), plan=only("head.*", 5.0), steps=2)
    weights = ground.start()
    for then in (Matching(temperature=30.0), Centroid(temperature=2.0)):
        adapt = Adapt(phases=(inner,), then=then)
        found = respond(ground, adapt, for_testing(ground, adapt, weights), episodes, key(0)).logits
        features = features_by_hand(weights, ground)
        expected = answer(then, features[episodes.support], features[episodes.query], episodes)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    same = Adapt(phases=(inner,), then=Centroid())
    moved = respond(ground, same, for_testing(ground, same, weights), episodes, key(0))
    assert stored(Centroid(), "head.temperature") in moved.own


class Odd(nn.Module):
    """A network whose parts are called as heads and rates are."""

    def __init__(self, **named: int) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4, dtype=torch.float64)
        for name in named:
            self.add_module(name, nn.Sequential(nn.Linear(4, 4, dtype=torch.float64)))
        self.named = tuple(named)

    def forward(self, rows: Tensor) -> Tensor:
        features: Tensor = self.first(rows)
        for name in self.named:
            features = self.get_submodule(name)(features)
        return features


def odd_ground(network: nn.Module, **given: Any) -> Ground:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 6)
    space = RowSpace([make_examples(Vectors(random.normal(size=(24, 5)).astype(np.float32)), labels)])
    names = tuple(n for n, _ in network.named_parameters())
    machine = Machine(device="cpu", dtype="float32").resolved()
    return Ground(Backbone("odd", network.eval(), Doubles(), 4, (("all", names),), machine, {}, "odd"), space, **given)


PHASE = {"sampler": Sampled(ways=3, shots=2, queries=2), "steps": 2}


@pytest.mark.parametrize("name", ["head", "source", "rates"])
@pytest.mark.parametrize("pattern", ["{}.*", "{}*", "{}.[0-9].weight", "*"])
def test_a_plan_for_the_head_moves_no_weight_of_a_network_that_has_one(name: str, pattern: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ground = odd_ground(Odd(head=1, source=1, rates=1))
    start, spelled = ground.start(), pattern.format(name)
    rules = Plan(rules=((spelled, 0.1), ("group:all", 0.0), ("*", 0.1))) if pattern != "*" else only(("head.*", "source.*", "rates.*"), 0.1)
    sampler = Pooled(batch=8)
    phase = Phase(sampler=sampler, learner=Linear(rows="class", start="random", name="source"), plan=rules, steps=2)
    ended = train(ground, (phase,), class_rows(ground.space), key(0))
    assert {*ended.moved} == {"source.weight", "source.bias"}
    assert all(torch.equal(ended.weights[n], t) for n, t in start.items())


def test_what_a_network_has_under_such_a_name_moves_by_its_own() -> None:
    ground = odd_ground(Odd(head=1))
    names = ground.movable({**ground.start(), "head.temperature": torch.zeros(())})
    groups = ground.backbone.groups
    inside = {"head.0.weight", "head.0.bias"}
    assert {*resolve(only("backbone.head.*", 0.1), names, groups).moving} == inside
    assert {*resolve(only("head.*", 0.1), names, groups).moving} == {"head.temperature"}
    assert inside < {*resolve(only("group:all", 0.1), names, groups).moving}
    assert {*resolve(everything(0.1), names, groups).moving} == {*names}
    assert {*resolve(Plan(rules=(("head.*", 0.0), ("*", 0.1))), names, groups).moving} == {*names} - {"head.temperature"}  # BOIL
    assert "head.0.bias" in resolve(only("*bias", 0.1), names, groups).moving
    with pytest.raises(InputError, match=r"no rule for 'backbone.head.0.weight'"):
        resolve(Plan(rules=(("first.*", 0.1), ("head.*", 0.1))), names, groups)


def test_the_head_alone_of_a_convnext_is_the_head_alone() -> None:
    pytest.importorskip("timm")
    backbone = load_backbone("timm:convnext_atto,pretrained=false,size=32", machine=Machine(device="cpu"))
    assert any(n.startswith("head.norm.") for n in backbone.start())
    labels = np.repeat(np.arange(3), 4)
    ground = Ground(backbone, RowSpace([make_examples(Pixels(images(12, height=32, width=32)), labels)]))
    for head in (Centroid(), Linear(rows="class", start="random")):
        sampler = PHASE["sampler"] if isinstance(head, Centroid) else Pooled(batch=6)
        phase = Phase(sampler=sampler, learner=head, plan=only("head.*", 0.1), steps=1)  # type: ignore[arg-type]
        ended = train(ground, (phase,), class_rows(ground.space), key(0))
        assert ended.moved and all(n not in ground.names for n in ended.moved)


@pytest.mark.parametrize(
    ("head", "edits", "said"),
    [
        (Centroid(name="first"), (), "a head is called 'first', which odd uses for its weight 'first.bias'"),
        (Linear(rows="class", name="first"), (), "a head is called 'first', which odd uses"),
        (Centroid(name="rates"), (), "a head is called 'rates', which odd uses for learned rates"),
        (
            Centroid(name="lora"),
            (LoRA(patterns=("first.weight",), rank=1),),
            "a head is called 'lora', which odd uses for its weight",
        ),
        (Centroid(), (LoRA(patterns=("first.weight",), rank=1, name="head"),), "a head is called 'head', which odd uses for its weight"),
    ],
)
def test_a_name_that_is_taken_is_refused(head: Head, edits: tuple[LoRA, ...], said: str) -> None:
    ground = odd_ground(Odd(source=1), edits=edits)
    phase = Phase(sampler=Sampled(ways=3, shots=2, queries=2), learner=head, plan=everything(0.1), steps=1)
    for refused in (lambda: begin(ground, (phase,)), lambda: for_testing(ground, head, ground.start())):
        with pytest.raises(InputError, match=said) as error:
            refused()
        assert "\n" not in str(error.value) and "name='answer'" in str(error.value)


def test_two_tensors_of_one_name_are_refused_and_others_of_its_first_word_are_not() -> None:
    class Plain(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4, dtype=torch.float64)

    ground = odd_ground(Plain())
    with pytest.raises(InputError, match=r"uses for its weight 'head.bias': give the head another name"):
        begin(ground, (Phase(sampler=Pooled(), learner=Linear(ways=3), plan=everything(0.1), steps=1),))
    assert begin(ground, (Phase(sampler=Pooled(), learner=Centroid(), plan=everything(0.1), steps=1),))


def renamed(ground: Ground, *names: str) -> Ground:
    """The same rows with classes of other names."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(60, 5)).astype(np.float32)
    labels = np.repeat(np.arange(len(names)), 60 // len(names))
    return replace(ground, space=RowSpace([make_examples(Vectors(vectors), labels, class_names=list(names))]))


def test_a_class_table_refuses_the_classes_of_another_data_set(ground: Ground, tasks: Tasks) -> None:
    table = Linear(rows="class", name="source")
    phase = Phase(sampler=Pooled(batch=8), learner=table, plan=only("source.*", 0.1), steps=2)
    ended = train(ground, (phase,), tasks, key(0))
    assert {*ended.moved} == {"source.weight", "source.bias"}  # the mark of its classes is no weight
    here = Sampled(ways=WAYS, shots=1, queries=2).draw(tasks, key(0), 0, 2)
    assert respond(ground, table, for_testing(ground, table, ended.weights), here, key(0)).logits.shape == (2, 6, 3)
    for names in (("c1", "c0", "c2", "c3", "c4", "c5"), tuple("abcdef"), tuple("abc"), tuple("abcdefghij")):
        other = renamed(ground, *names)
        episodes = Sampled(ways=WAYS, shots=1, queries=2).draw(class_rows(other.space), key(0), 0, 2)
        adapt = Adapt(phases=(replace(phase, sampler=Pooled()),), then=table)
        for learner in (table, adapt):
            with pytest.raises(InputError, match="head 'source' was trained for the classes of another data set") as error:
                score_each(other, learner, ended.weights, [episodes])
            assert "\n" not in str(error.value)
    same = renamed(ground, *(f"c{i}" for i in range(6)))
    episodes = Sampled(ways=WAYS, shots=1, queries=2).draw(class_rows(same.space), key(0), 0, 2)
    assert score_each(same, table, ended.weights, [episodes])[0].accuracy.shape == (2,)
