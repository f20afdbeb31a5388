"""Finetuning on own labels: the engine's, a plain loop of torch's, and what it may see."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.cutting.cut import Cut
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged
from fewtune.keys import key
from fewtune.learners.target import Target, usable_target
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt
from fewtune.machine import Machine
from fewtune.sides.own import OwnTuner, own_method
from fewtune.tasks.episodes import Episodes

WIDTH, ROWS = 6, 24
RECIPE = "contrastive(on='support', steps=7, batch=64, lr=0.02, last=1, temperature=0.4)"
LABELS = np.arange(ROWS) % 3
SOME = np.array([0, 1, 2, 3, 4, 5, 8, 11, 13, 15, 16, 20])


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(f"mlp,inputs={WIDTH},width=8,depth=3", machine=Machine(device="cpu"))


def vectors() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    return (random.normal(size=(3, WIDTH))[LABELS] + 0.7 * random.normal(size=(ROWS, WIDTH))).astype("float32")


def target(backbone: Backbone, labels: Integers = LABELS) -> Target:
    examples = make_examples(Vectors(vectors()), [f"c{k}" for k in labels], class_names=["c0", "c1", "c2"], name="mine")
    return usable_target(examples, backbone, cache=None, skip_bad=False, quiet=True)


def tuner(backbone: Backbone, recipe: str = RECIPE, labels: Integers = LABELS, seed: int = 0) -> OwnTuner:
    mine = target(backbone, labels)
    return OwnTuner(mine, RowSpace([mine.examples]), backbone, own_method(recipe), seed)


def contrast(z: Tensor, label: Integers, temperature: float) -> Tensor:
    """The loss with loops over rows."""
    z = normalize(z, dim=-1)
    costs = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        logs = torch.log_softmax(z[others] @ z[i] / temperature, 0)
        costs.append(-torch.stack([logs[n] for n, j in enumerate(others) if label[j] == label[i]]).mean())
    return torch.stack(costs).mean()


def test_it_is_a_plain_loop_of_torch(backbone: Backbone) -> None:
    """All rows in every step, the last group alone, AdamW with torch's own defaults; features of every labelled row."""
    made = tuner(backbone).made(SOME)
    network = copy.deepcopy(backbone.network).requires_grad_(True)
    last: Any = next(iter(network.children()))[-1]  # type: ignore[index]
    optimizer = torch.optim.AdamW(last.parameters(), lr=0.02, weight_decay=0.01)
    x = torch.from_numpy(vectors())
    for _ in range(7):
        optimizer.zero_grad()
        contrast(network(x[SOME]), LABELS[SOME], 0.4).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    before = dict(backbone.network.named_parameters())
    assert max(float((t - before[n]).detach().abs().max()) for n, t in network.named_parameters()) > 0.05
    torch.testing.assert_close(made.side.features, network(x).detach(), rtol=1e-4, atol=1e-5)
    assert made.moved is not None
    assert set(made.moved.weights) == {n for n in before if n.startswith("layers.2.")}
    for name, tensor in made.moved.weights.items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_it_is_the_engine_s_own_adaptation_by_the_labelled_rows_as_a_support(backbone: Backbone) -> None:
    """Batches that are drawn, a rate over time: with the draws of this seed."""
    recipe = "contrastive(on='support', steps=5, batch=6, lr=Cosine(lr=0.1), last=2)"
    mine = tuner(backbone, recipe, seed=3)
    made = mine.made(SOME)
    ground = Ground(backbone, mine.space, mine.method.edits)
    weights, none = ground.start(), torch.zeros(1, 0, dtype=torch.int64)
    episode = Episodes(
        torch.from_numpy(SOME)[None],
        torch.from_numpy(LABELS[SOME])[None],
        none,
        none,
        torch.arange(3)[None],
        torch.zeros(1, dtype=torch.int64),
    )
    assert isinstance(mine.method.learner, Adapt)
    with torch.no_grad():
        own = tune(ground, mine.method.learner, weights, episode, key(3, "own labels"))
        expected = ground.embed({**weights, **own}, torch.arange(ROWS)[None])[0]
    torch.testing.assert_close(made.side.features, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(tuner(backbone, recipe, seed=4).made(SOME).side.features, made.side.features)


@pytest.mark.parametrize("recipe", [RECIPE, "lora(on='support', steps=4, rank=2, lr=0.1)", "standard(on='support', steps=4, batch=8)"])
def test_labels_of_other_rows_have_no_say(recipe: str, backbone: Backbone) -> None:
    """To the last bit, whatever they are."""
    made = tuner(backbone, recipe).made(SOME)
    others = LABELS.copy()
    rest = np.setdiff1d(np.arange(ROWS), SOME)
    others[rest] = (others[rest] + 1) % 3
    again = tuner(backbone, recipe, others).made(SOME)
    assert torch.equal(made.side.features, again.side.features)
    assert made.moved is not None and again.moved is not None and made.moved.digest == again.moved.digest
    mine = LABELS.copy()
    mine[SOME[0]] = (mine[SOME[0]] + 1) % 3
    assert not torch.equal(tuner(backbone, recipe, mine).made(SOME).side.features, made.side.features)  # those of its own rows have


def test_a_side_is_the_model_that_is_saved(backbone: Backbone) -> None:
    made = tuner(backbone).made(SOME)
    assert made.moved is not None
    saved = made.moved.onto(backbone)
    assert saved.digest() == made.side.backbone.digest() != backbone.digest()
    mine = target(backbone)
    torch.testing.assert_close(made.side.features, saved.embed(saved.start(), RowSpace([mine.examples]), np.arange(ROWS)))


def test_nothing_of_one_run_stays_for_the_next(backbone: Backbone) -> None:
    one = tuner(backbone)
    first, other, again = one.made(SOME), one.made(SOME[:9]), one.made(SOME)
    assert torch.equal(first.side.features, again.side.features) and not torch.equal(first.side.features, other.side.features)
    assert torch.equal(
        backbone.start()["layers.2.weight"], load_backbone(backbone.name, machine=Machine(device="cpu")).start()["layers.2.weight"]
    )


def test_what_lies_below_is_computed_once_a_row_for_all_runs(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    lower = Cut.lower

    def counted(self: Cut, weights: Any, inputs: Any) -> Any:
        seen.append(len(inputs))
        return lower(self, weights, inputs)

    monkeypatch.setattr(Cut, "lower", counted)
    one = tuner(backbone)
    one._ground(backbone)  # a trial of the cut
    seen.clear()
    one.made(SOME)
    one.made(SOME[:9])
    one.of_steps(2).made(SOME)
    assert sum(seen) == ROWS


def test_it_goes_on_from_where_another_ended(backbone: Backbone) -> None:
    """What is saved is all that differs from the model as it came."""
    begun = tuner(backbone).made(SOME)
    one = tuner(backbone, RECIPE.replace("last=1", "last=2"))
    made = one.made(SOME, begun.side.backbone)
    direct = one.made(SOME)
    assert not torch.equal(made.side.features, direct.side.features)
    assert made.moved is not None and begun.moved is not None and set(made.moved.weights) > set(begun.moved.weights)
    saved = made.moved.onto(backbone)
    torch.testing.assert_close(made.side.features, saved.embed(saved.start(), one.space, np.arange(ROWS)))
    still = tuner(backbone, RECIPE.replace("lr=0.02", "lr=0.0")).made(SOME, begun.side.backbone)
    torch.testing.assert_close(still.side.features, begun.side.features)


def test_rows_that_are_not_labelled_have_no_features(backbone: Backbone) -> None:
    mine = target(backbone)
    short = replace(mine, support=SOME)
    features = OwnTuner(short, RowSpace([mine.examples]), backbone, own_method(RECIPE)).made(SOME[:9]).side.features
    assert features.shape == (ROWS, 8)
    assert not features[np.setdiff1d(np.arange(ROWS), SOME)].any() and features[SOME].abs().sum(1).min() > 0


def test_the_steps_of_a_run_are_counted(backbone: Backbone) -> None:
    one = tuner(backbone, "linear_probe_then_finetune(on='support', probe_steps=10, steps=5)")
    assert one.steps == 15
    assert one.of_steps(3).steps == 6 and one.of_steps(100).steps == 15


def test_weights_that_are_no_numbers_are_said(backbone: Backbone) -> None:
    with pytest.raises(Diverged, match="lower learning rate"):
        tuner(backbone, "standard(on='support', steps=6, batch=8, lr=1e30)").made(SOME)


def test_a_method_that_moves_nothing_leaves_the_backbone_as_it_came(backbone: Backbone) -> None:
    made = tuner(backbone, RECIPE.replace("lr=0.02", "lr=0.0")).made(SOME)
    assert made.moved is None and made.side.backbone is backbone
    with torch.no_grad():
        expected = nn.Module.__call__(backbone.network, torch.from_numpy(vectors()))
    torch.testing.assert_close(made.side.features, expected)
