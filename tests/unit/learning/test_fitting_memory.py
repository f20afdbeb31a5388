"""What a training step keeps for its gradient, and how it is fitted into memory: a network whose activations are known by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones import activations
from fewtune.backbones.activations import ROOM, kept_bytes, room, rows_again
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.preparation import squashed
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning import loop
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.fitting_memory import parts_of
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.aggregators import Mean, PcGrad
from fewtune.parts.heads import Centroid
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.laws.grounds import maml, outer_phase
from tests.tiny import images

INPUT = 3 * 16 * 16 * 4  # bytes of an image: what the convolution keeps for its weight's gradient
HIDDEN = 4 * 4 * 4 * 4  # bytes of 4 channels of 4 x 4: what tanh keeps, which is what the last layer keeps too
ROW = INPUT + HIDDEN


def hand_ground(**machine: Any) -> Ground:
    """40 images of 4 classes, and a network that keeps ROW bytes an image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)).eval()
    names = [n for n, _ in network.named_parameters()]
    here = Machine(device="cpu", dtype="float32", channels_last=False, **machine).resolved()  # else Flatten keeps a copy
    backbone = Backbone("test", network, squashed(16, grey=False), 5, (("all", tuple(names)),), here, {}, "test")
    labels = np.repeat(np.arange(4), 10)
    return Ground(backbone, RowSpace([make_examples(Pixels(images(40, height=16, width=16)), labels, class_names=list("abcd"))]))


def moving(ground: Ground, begins: str = "") -> dict[str, Tensor]:
    return {n: t.clone().requires_grad_(n.startswith(begins)) for n, t in ground.start().items()}


@pytest.fixture
def rows_of_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda rows: monkeypatch.setattr(activations, "ROOM", int(rows * ROW))


def asking(*rows: list[int]) -> Episodes:
    """Episodes of two classes with these rows, one to show and one to ask of each class."""
    all_rows = torch.tensor(rows)
    label = torch.tensor([[0, 1]] * len(rows))
    return Episodes(all_rows[:, :2], label, all_rows[:, 2:], label, label, torch.arange(len(rows)))


APART = asking([0, 10, 1, 11], [2, 12, 3, 13], [4, 14, 5, 15], [6, 16, 7, 17])  # 16 rows
ALIKE = asking([0, 10, 1, 11], [0, 10, 1, 12], [0, 10, 1, 13], [0, 10, 1, 14])  # 7 rows


def test_kept_bytes_counts_each_tensor_once() -> None:
    weight, inputs = torch.ones(3, 3, requires_grad=True), torch.ones(5, 3)
    assert kept_bytes(lambda: torch.tanh(inputs * weight[0]).sum()) == 2 * 5 * 3 * 4  # the inputs, and what tanh returns
    assert kept_bytes(lambda: (inputs @ weight) + (inputs @ weight)) == 5 * 3 * 4  # the same inputs twice; the other factor is constant
    assert kept_bytes(lambda: inputs @ inputs.T) == 0


def test_a_row_keeps_what_its_layers_keep() -> None:
    ground = hand_ground()
    rows = np.arange(3)
    assert ground.row_bytes(moving(ground), rows) == ROW
    assert ground.row_bytes(moving(ground, "3."), rows) == HIDDEN  # nothing below the last layer has a gradient
    assert ground.row_bytes(ground.start(), rows) == 0
    assert ground.row_bytes(moving(ground), rows[:0]) == 0


def test_rows_below_a_cut_keep_what_lies_above_it() -> None:
    ground = hand_ground()
    weights = moving(ground, "3.")
    held = ground.holding(weights, {"3.weight", "3.bias"})
    assert held.store is not None
    held.embed(weights, torch.arange(4)[None])
    assert held.row_bytes(weights, np.arange(4)) == HIDDEN


@pytest.mark.parametrize(
    ("recompute", "count", "expected"),
    [(None, 5, 0), (None, 6, 5), (None, 0, 0), (False, 6, 0), (True, 2, 5)],
)
def test_activations_are_computed_again_where_they_are_more_than_the_room(
    rows_of_room: Callable[[float], None], recompute: bool | None, count: int, expected: int
) -> None:
    rows_of_room(5)
    machine = Machine(device="cpu", recompute=recompute)
    assert rows_again(machine, count, lambda: ROW) == expected
    with torch.no_grad():
        assert rows_again(machine, count, lambda: ROW) == 0


def test_a_row_larger_than_the_room_goes_alone(rows_of_room: Callable[[float], None]) -> None:
    rows_of_room(0.5)
    assert rows_again(Machine(device="cpu"), 3, lambda: ROW) == 1


@pytest.mark.parametrize(
    ("episodes", "rows", "expected"),
    [
        (APART, 16, 1),
        (APART, 15, 2),
        (APART, 8, 2),
        (APART, 7, 4),  # three parts are of two, one and one episode: eight rows
        (APART, 4, 4),
        (APART, 3, 1),  # one episode alone is too large: all are embedded together, and computed again
        (ALIKE, 7, 1),
        (ALIKE, 6, 1),  # two parts look at 5 + 5 rows, more than 4/3 of 7
    ],
)
def test_parts_keep_activations_within_the_room(
    rows_of_room: Callable[[float], None], episodes: Episodes, rows: float, expected: int
) -> None:
    rows_of_room(rows)
    ground = hand_ground()
    phase = outer_phase(Centroid(), batch=4)
    assert parts_of(ground, phase, moving(ground), episodes) == expected
    assert parts_of(hand_ground(accumulate=3), phase, moving(ground), episodes) == 3


def test_parts_of_learners_with_a_gradient_a_task(rows_of_room: Callable[[float], None]) -> None:
    rows_of_room(6)
    ground = hand_ground()
    assert parts_of(ground, outer_phase(Centroid(), batch=4, aggregator=PcGrad()), moving(ground), ALIKE) == 4
    adapting = outer_phase(maml(steps=1, through="first_order"), batch=4)  # 4 rows an episode: two are shown, two are asked
    assert parts_of(ground, adapting, moving(ground), APART) == 3  # 16 visits, six at a time
    unrolled = outer_phase(maml(steps=1, through="unroll"), batch=4)
    rows_of_room(23)
    assert parts_of(ground, unrolled, moving(ground), APART) == 3  # each visit counts three times


@pytest.mark.parametrize("through", [None, "first_order", "unroll"])
def test_gradients_are_the_same_whatever_the_room(rows_of_room: Callable[[float], None], through: str | None) -> None:
    episodes = Sampled(ways=3, shots=2, queries=2).draw(class_rows(hand_ground().space), key(0), 0, 2)
    phase = outer_phase(Centroid() if through is None else maml(steps=2, through=through), batch=2)
    found = []
    for rows in (1000, 5, 0.5):
        rows_of_room(rows)
        ground = hand_ground()
        leaves = moving(ground)
        if through is not None:
            leaves |= {n: t.requires_grad_() for n, t in phase.learner.then.declare(5).items()}
        found.append(direction(phase, answering(ground, phase, leaves, key(0)), leaves, episodes, key(0), origin=leaves)[0])
    for n, expected in found[0].items():
        for other in found[1:]:
            torch.testing.assert_close(other[n], expected, rtol=1e-4, atol=1e-5)  # float32, summed in another order


def test_a_run_is_the_same_whatever_the_room_and_keeps_less(rows_of_room: Callable[[float], None]) -> None:
    tasks = class_rows(hand_ground().space)
    phase = outer_phase(Centroid(), sampler=Sampled(ways=2, shots=1, queries=1), batch=4, aggregator=Mean())
    ends, kept, start = [], [], hand_ground().start()
    for rows in (1000, 4, 0.5):
        rows_of_room(rows)
        ground = hand_ground()
        ends.append(train(ground, (phase,), tasks, key(0)).weights)
        weights = moving(ground)
        kept.append(kept_bytes(lambda ground=ground, weights=weights: ground.embed(weights, torch.arange(20)[None])))
    for n, expected in ends[0].items():
        for other in ends[1:]:
            moved = float((expected - start[n]).abs().max()) if n in start else 1.0
            rounding = 16 * torch.finfo(torch.float32).eps * moved  # what passes in another order may differ by
            torch.testing.assert_close(other[n], expected, rtol=0, atol=rounding)
    assert kept[0] >= 20 * ROW and max(kept[1:]) < 20 * ROW / 2


def test_passes_that_are_computed_again_fit_into_the_room(rows_of_room: Callable[[float], None]) -> None:
    ground, sizes = hand_ground(), []
    ground.backbone.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    weights = moving(ground)
    ground.row_bytes(weights, np.arange(1))  # measured once
    sizes.clear()
    for rows, expected in ((7, [7]), (3, [3, 3, 1]), (0.5, [1] * 7)):
        rows_of_room(rows)
        ground.embed(weights, torch.arange(7)[None])
        assert sizes == expected
        sizes.clear()


def test_what_lies_above_a_cut_is_computed_again(rows_of_room: Callable[[float], None]) -> None:
    ground = hand_ground()
    weights, rows = moving(ground, "3."), torch.arange(30)[None]
    kept = []
    for room_rows in (1000, 10 * HIDDEN / ROW):
        rows_of_room(room_rows)
        held = ground.holding(weights, {"3.weight", "3.bias"})
        kept.append((kept_bytes(lambda held=held: held.embed(weights, rows)), held.embed(weights, rows)))
        assert held.store is not None and len(held.store) == 30
    assert kept[0][0] >= 30 * HIDDEN
    torch.testing.assert_close(kept[1][1], kept[0][1], rtol=1e-5, atol=1e-7)
    again: list[int] = []  # a pass that is computed again ends inside the last layer, when all is there
    held.backbone.network[3].register_forward_pre_hook(lambda *_: again.append(1))
    held.embed(weights, rows).sum().backward()
    assert len(again) == 6  # three passes of ten rows, twice


def test_training_steps_are_answered_in_these_parts(rows_of_room: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of_room(8)
    asked: list[int] = []

    def spied(*given: Any, **named: Any) -> Any:
        asked.append(named["parts"])
        return direction(*given, **named)

    monkeypatch.setattr(loop, "direction", spied)
    ground, sampler = hand_ground(), Sampled(ways=2, shots=1, queries=1)
    phase = outer_phase(Centroid(), sampler=sampler, batch=4, steps=3)
    train(ground, (phase,), class_rows(ground.space), key(0))
    drawn = [sampler.draw(class_rows(ground.space), key(0).child("source", 0).child("draw"), 4 * step, 4) for step in range(3)]
    assert asked == [parts_of(ground, phase, moving(ground), episodes) for episodes in drawn] and max(asked) > 1


def test_what_the_machine_says_is_checked() -> None:
    assert room(Machine(device="cpu")) == ROOM == 1 << 30
    with pytest.raises(InputError, match="accumulate and together are at least 0, found -1 and 0"):
        Machine(accumulate=-1)
