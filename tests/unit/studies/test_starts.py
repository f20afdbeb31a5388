"""Finetuning from several starts: against a loop by hand, and what the study says of its curves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Pixels, Vectors
from fewtune.data.views.views import BlockShuffle
from fewtune.errors import Diverged, InputError
from fewtune.keys import key
from fewtune.studies.starts import HEAD, Curve, Finetuned, Finetuning, Seen, StartCurves, begun, best_rate, finetuned, start_curves
from tests.tiny import images


def vectors(count: int, seed: int, width: int = 6, shift: float = 2) -> Examples:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    x = random.normal(size=(count, width)) + shift * np.eye(3, width)[labels]
    return make_examples(Vectors(x.astype(np.float32)), labels, class_names=("a", "b", "c"), name="clouds")


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
    return Backbone.of(network, inputs=6)


def by_hand(backbone: Backbone, train: Examples, settings: Finetuning) -> dict[str, Any]:
    """The same in plain torch: the rows of each step are those of the keyed passes."""
    import copy

    network = copy.deepcopy(backbone.network)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    network.train()
    head = nn.Linear(5, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(
        [{"params": list(network.parameters())}, {"params": list(head.parameters()), "lr": 0.2, "weight_decay": 0.1}],
        lr=settings.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    x = torch.from_numpy(np.stack([np.asarray(train.items.fetch(i)) for i in range(len(train))]))
    for step in range(settings.steps):
        each, place = divmod(step, len(train) // settings.batch)
        order = np.argsort(key(3).child("pass", each).uniform(np.arange(len(train), dtype=np.uint64)), kind="stable")
        rows = np.sort(order[place * settings.batch : (place + 1) * settings.batch])
        loss = nn.functional.cross_entropy(head(network(x[rows])), torch.from_numpy(train.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {**network.state_dict(), f"{HEAD}weight": head.weight, f"{HEAD}bias": head.bias}


def test_it_is_the_loop_by_hand_with_batchnorm_as_in_training(backbone: Backbone) -> None:
    train, test = vectors(20, 1), vectors(30, 2)
    settings = Finetuning(steps=7, batch=8, rate=0.05, weight_decay=0.01, head_rate=0.2, head_decay=0.1, watch=3)
    before = {n: t.clone() for n, t in backbone.start().items()}
    found = finetuned(Seen(train, backbone), Seen(test, backbone), settings, key(3))
    expected = by_hand(backbone, train, settings)
    for name, tensor in found.weights.items():
        torch.testing.assert_close(tensor, expected[name].detach(), rtol=1e-5, atol=1e-6)
    assert found.weights.keys() == begun(backbone, 3).keys()
    assert found.steps == (0, 3, 6, 7) and found.right.shape == (4, 30)
    assert np.array_equal(found.right[0], test.labels == 0)  # a head of zeros says the first class
    assert np.array_equal(found.right[-1], Seen(test, backbone).right(found.weights))
    assert all(torch.equal(t, before[n]) for n, t in backbone.start().items())  # the start is not changed


def test_only_what_is_asked_for_moves(backbone: Backbone) -> None:
    train, test = vectors(20, 1), vectors(12, 2)
    first = backbone.groups[0]
    kept = Finetuning(steps=4, batch=8, statistics="kept")
    for settings, moved in (
        (Finetuning(steps=4, batch=8, groups=()), set()),
        (Finetuning(steps=4, batch=8, groups=(first[0],)), set(first[1])),
        (kept, {n for _, names in backbone.groups for n in names}),
    ):
        end = finetuned(Seen(train, backbone), Seen(test, backbone), settings, key(0)).weights
        assert {n for n, t in backbone.start().items() if not torch.equal(t, end[n])} == moved
        assert not torch.equal(end[f"{HEAD}weight"], torch.zeros(3, 5))
    with pytest.raises(InputError, match="group"):
        finetuned(Seen(train, backbone), Seen(test, backbone), Finetuning(groups=("nothing",)), key(0))


def curves_of(**right: list[list[float]]) -> StartCurves:
    """A data set of 10 rows: accuracies in tenths, seed by seed."""
    made = [
        Curve(name, 0, seed, tuple(range(0, 10 * len(points), 10)), np.arange(10)[None] < np.array(points)[:, None])
        for name, seeds in right.items()
        for seed, points in enumerate(seeds)
    ]
    return StartCurves("tenths", 0.1, tuple(made))


def test_height_and_speed_are_read_apart() -> None:
    found = curves_of(fast=[[1, 6, 6], [1, 6, 6]], slow=[[1, 1, 6], [1, 1, 6]], low=[[1, 3, 3], [1, 3, 3]])
    assert found.gain("fast", "slow").mean == 0 and found.gain("fast", "low").mean == pytest.approx(0.3)
    assert found.convergence("fast", share=0.8).steps.mean == pytest.approx(8)
    assert found.convergence("slow", share=0.8).steps.mean == pytest.approx(18)
    assert found.convergence("low", share=0.8).steps.mean == pytest.approx(8)
    assert found.ratio("fast", "slow", share=0.8, resamples=50).mean == pytest.approx(18 / 8)
    with pytest.raises(InputError, match="fast, 8"):
        found.of("fast", 8)


def test_runs_are_kept_line_by_line_and_read_again(backbone: Backbone, tmp_path: Path) -> None:
    train, test, lines = vectors(20, 1), vectors(12, 2), tmp_path / "lines.jsonl"
    other = backbone.with_weights({n: t + 0.1 for n, t in backbone.start().items() if n.endswith("weight")})
    starts, settings = {"one": backbone, "two": other}, Finetuning(steps=4, batch=8, watch=2)
    ran: list[str] = []

    def ended(curve: Curve, run: Finetuned) -> None:
        ran.append(f"{curve.start} {curve.seed}")
        assert torch.isfinite(run.weights[f"{HEAD}bias"]).all()

    first = start_curves(starts, train, test, settings, seeds=(0, 1), lines=lines, ended=ended)
    assert ran == ["one 0", "one 1", "two 0", "two 1"] and len(lines.read_text().splitlines()) == 4
    lines.write_text("\n".join(lines.read_text().splitlines()[:3]) + "\n" + '{"identity": "cut o')
    again = start_curves(starts, train, test, settings, seeds=(0, 1), lines=lines, ended=ended)
    assert ran[4:] == ["two 1"]
    for a, b in zip(first.curves, again.curves, strict=True):
        assert (a.start, a.seed, a.steps) == (b.start, b.seed, b.steps) and np.array_equal(a.right, b.right)
    start_curves(starts, train, test, Finetuning(steps=4, batch=8, watch=2, rate=0.5), lines=lines, ended=ended)
    assert ran[5:] == ["one 0", "two 0"]  # other settings are other runs


def test_blocks_are_shuffled_for_training_and_for_tests(tmp_path: Path) -> None:
    photos = make_examples(Pixels(images(24)), np.arange(24) % 2, class_names=("a", "b"), name="photos")
    network, weights = load_backbone("conv4,size=32,width=4"), []

    def ended(curve: Curve, run: Finetuned) -> None:  # noqa: ARG001
        weights.append(run.weights[f"{HEAD}weight"])

    settings = Finetuning(steps=3, batch=8, watch=3)
    found = start_curves({"conv": network}, photos, photos, settings, blocks=(0, 8, 32), ended=ended, lines=tmp_path / "lines")
    assert [c.block for c in found.curves] == [0, 8, 32]
    assert not torch.allclose(weights[0], weights[1]) and torch.equal(weights[0], weights[2])  # one block as large as the photo
    whole, blocks = (Seen(photos, network, view).inputs([0]) for view in (None, BlockShuffle(size=8)))
    assert not torch.equal(whole, blocks) and torch.equal(whole.flatten().sort().values, blocks.flatten().sort().values)


def test_a_rate_is_chosen_on_training_rows(backbone: Backbone) -> None:
    train = vectors(60, 1)
    settings = Finetuning(steps=15, batch=8)
    assert best_rate(backbone, train, settings, (0.05, 1e30)) == 0.05
    easy = vectors(60, 1, shift=50)
    assert best_rate(backbone, easy, replace(settings, groups=()), (0.1, 0.05)) == 0.05  # both are always right
    with pytest.raises(Diverged, match="give smaller ones"):
        best_rate(backbone, train, settings, (1e30,))
    with pytest.raises(InputError, match="five rows"):
        best_rate(backbone, train.take(np.arange(9)), settings, (0.1,))


def test_odd_input(backbone: Backbone) -> None:
    train, test = vectors(20, 1), vectors(12, 2)
    with pytest.raises(InputError, match="at least one start"):
        start_curves({}, train, test, Finetuning())
    with pytest.raises(InputError, match="settings for each of the starts"):
        start_curves({"one": backbone}, train, test, {"two": Finetuning()})
    with pytest.raises(InputError, match="expected at least a batch, 64"):
        start_curves({"one": backbone}, train, test, Finetuning(batch=64))
    with pytest.raises(InputError, match="blocks are those of photos"):
        start_curves({"one": backbone}, train, test, Finetuning(), blocks=(4,))
    with pytest.raises(InputError, match="same steps"):
        start_curves({"one": backbone, "two": backbone}, train, test, {"one": Finetuning(steps=3), "two": Finetuning(steps=4)})
    with pytest.raises(InputError, match="different classes"):
        start_curves({"one": backbone}, train, make_examples(test.items, ["x"] * 12), Finetuning())
    with pytest.raises(InputError, match="without a label"):
        Seen(make_examples(test.items, [None] * 12), backbone)
    with pytest.raises(InputError, match="rate above 0"):
        Finetuning(rate=0)
    with pytest.raises(Diverged, match="smaller rate"):
        start_curves({"one": backbone}, train, test, Finetuning(rate=1e30, batch=8, steps=9))
    assert json.loads(Curve("a", 0, 0, (0,), np.ones((1, 2), dtype=bool)).line("x"))["right"] == ["11"]
