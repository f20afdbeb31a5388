"""Averages of weights that LoRA changes: of the changed weights, never of the factors each for itself; against merged weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

from fewtune.backbones.edits import LoRA, edited, settled
from fewtune.keys import key
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering, average, tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Average, Greedy, Phase
from fewtune.learning.train import Trained, train
from fewtune.models.finetuned_weights import what_moved
from fewtune.parts.heads import Centroid
from fewtune.parts.keep import Ema, Keep, Swa
from fewtune.parts.plan import everything, only
from fewtune.sources.advice import part_way
from fewtune.stopping import Stopped, ask_to_stop
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS, Asked, differences, double_ground, gradient, maml, near, outer_phase, query_loss, shared_head

EDITS = (LoRA(patterns=("*.weight",), rank=2, alpha=3.0), LoRA(patterns=("2.weight",), rank=1, alpha=1.0, name="second"))
FACTORS = ("lora.*", "second.*")
Members: TypeAlias = tuple[tuple[Phase, ...], ...]
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.fixture(scope="session")
def ground() -> Ground:
    return replace(double_ground(), edits=EDITS)


def phase(rate: float, *, steps: int = 2, plan: Any = None, keep: Keep | None = None) -> Phase:
    sampler = Sampled(ways=WAYS, shots=2, queries=3)
    made = Phase(sampler=sampler, learner=Centroid(), plan=plan or only(FACTORS, rate), steps=steps)
    return made if keep is None else replace(made, keep=keep)


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By hand: W + alpha / rank x up down of each edit."""
    found = {n: weights[n].detach().clone() for n in NAMES}
    for edit in EDITS:
        for n in [n for n in NAMES if f"{edit.name}.{n}.up" in weights]:
            found[n] += edit.alpha / edit.rank * weights[f"{edit.name}.{n}.up"].detach() @ weights[f"{edit.name}.{n}.down"].detach()
    return found


def mean(ends: list[dict[str, Tensor]], shares: tuple[float, ...]) -> dict[str, Tensor]:
    return {n: sum(s * end[n] for s, end in zip(shares, ends, strict=True)) for n in NAMES}  # type: ignore[misc]


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], **tolerance: float) -> None:
    for n in NAMES:
        torch.testing.assert_close(found[n], expected[n], **(tolerance or {"rtol": 1e-12, "atol": 1e-13}))


def ended(ground: Ground, tasks: Tasks, *steps: Any, **given: Any) -> Trained:
    return train(ground, steps, tasks, key(4), **given)


def alone(
    ground: Ground, tasks: Tasks, before: tuple[Phase, ...], members: tuple[tuple[Phase, ...], ...], number: int
) -> dict[str, Tensor]:
    """What a member of an average ends with: the average of all with the weight 1 on it; its factors are exact."""
    shares = tuple(float(i == number) for i in range(len(members)))
    return merged(ended(ground, tasks, *before, Average(members=members, weights=shares)).weights)


MEMBERS: dict[str, Members] = {
    "wise": ((), (phase(0.3),)),
    "soup": ((phase(0.3),), (phase(0.6),)),
    "three": ((phase(0.3),), (), (phase(0.6, plan=everything(0.6)), phase(0.2))),
    "only up": ((phase(0.3, plan=only("*.up", 0.3)),), (phase(0.6, plan=only("*.up", 0.6)),)),
}


@pytest.mark.parametrize("before", [(), (phase(0.4),), (phase(0.4, plan=everything(0.4)),)], ids=["at once", "after a phase", "after all"])
@pytest.mark.parametrize("name", MEMBERS)
def test_an_average_is_that_of_the_changed_weights(ground: Ground, tasks: Tasks, name: str, before: tuple[Phase, ...]) -> None:
    members = MEMBERS[name]
    shares = (0.3, 0.7) if len(members) == 2 else (0.5, 0.2, 0.3)
    found = ended(ground, tasks, *before, Average(members=members, weights=shares))
    ends = [alone(ground, tasks, before, members, i) for i in range(len(members))]
    same(merged(found.weights), mean(ends, shares))
    assert max(float((ends[0][n] - ends[1][n]).abs().max()) for n in NAMES) > 1e-3
    for n, t in ground.start().items():
        assert found.weights[n].shape == t.shape


def test_a_member_alone_is_the_run_itself(ground: Ground, tasks: Tasks) -> None:
    """The reference above rests on this: two steps by hand, each in the member's own order."""
    found = alone(ground, tasks, (), ((), (phase(0.3, steps=2),)), 1)
    weights, at = ground.start(), key(4).child("source", 0, 1, 0)
    for step in range(2):
        leaf = {n: t.detach().requires_grad_() for n, t in weights.items() if n.startswith(("lora", "second"))}
        answer = answering(ground, phase(0.3), {**weights, **leaf}, at)
        slopes, _ = direction(phase(0.3), answer, leaf, phase(0.3).sampler.draw(tasks, at.child("draw"), step, 1), at, origin=weights)
        weights |= {n: (leaf[n] - 0.3 * g).detach() for n, g in slopes.items() if g is not None}
    same(found, merged(weights), rtol=1e-9, atol=1e-11)


def test_a_run_and_its_mirror_image_are_one_run(ground: Ground, tasks: Tasks) -> None:
    start = ground.start()
    first = {**start, **{n: t for n, t in ended(ground, tasks, phase(0.3)).weights.items() if n in start}}
    mirror = {n: -t if n.startswith(("lora", "second")) else t for n, t in first.items()}
    same(merged(average([first, mirror], (0.5, 0.5), EDITS, start)), merged(first))
    assert all(t is start[n] for n, t in average([start, start], (0.5, 0.5), EDITS, start).items())


def test_whole_numbers_do_not_mix() -> None:
    """Counters of BatchNorm and marks of heads stay whole numbers: those of the first end, as on a line between two networks."""
    ends = [{"w": torch.ones(2), "count": torch.tensor(3)}, {"w": torch.zeros(2), "count": torch.tensor(8)}]
    found = average(ends, (0.5, 0.5))
    assert found["w"].tolist() == [0.5, 0.5]
    assert found["count"].dtype == torch.int64 and int(found["count"]) == 3


def test_a_greedy_soup_averages_changed_weights(ground: Ground, tasks: Tasks) -> None:
    members = MEMBERS["soup"]
    found = ended(ground, tasks, Greedy(members=members), validate=lambda _: 0.5)
    same(merged(found.weights), mean([alone(ground, tasks, (), members, i) for i in range(2)], (0.5, 0.5)))


@pytest.mark.parametrize("plan", [only(FACTORS, 0.3), everything(0.3)], ids=["factors", "all"])
@pytest.mark.parametrize("keep", [Ema(decay=0.6), Swa(start=0.5), Swa(start=0.0, every=2)], ids=repr)
def test_averages_over_steps_are_of_changed_weights(ground: Ground, tasks: Tasks, keep: Keep, plan: Any) -> None:
    before, steps = phase(0.4), 5
    path = [merged(ended(ground, tasks, before, phase(0.3, plan=plan, steps=n)).weights) for n in range(steps + 1)]
    found = ended(ground, tasks, before, phase(0.3, plan=plan, steps=steps, keep=keep))
    if isinstance(keep, Ema):
        expected = path[0]
        for one in path[1:]:
            expected = {n: keep.decay * expected[n] + (1 - keep.decay) * one[n] for n in NAMES}
    else:
        visited = {0.5: (3, 4, 5), 0.0: (1, 3, 5)}[keep.start]  # type: ignore[union-attr]
        expected = mean([path[i] for i in visited], (1 / 3,) * 3)
    same(merged(found.weights), expected)
    still = ended(ground, tasks, before, phase(0.3, plan=plan, steps=0, keep=keep))
    same(merged(still.weights), path[0])


@pytest.mark.parametrize("keep", [Ema(decay=0.6), Swa(start=0.25)], ids=repr)
def test_averages_over_steps_are_resumed_bit_for_bit(ground: Ground, tasks: Tasks, keep: Keep, tmp_path: Path) -> None:
    one = phase(0.3, steps=5, keep=keep)
    whole = ended(ground, tasks, one)
    stopped = replace(one, sampler=Asked(one.sampler, 3, ask_to_stop))  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        ended(ground, tasks, stopped, checkpoints=Checkpoints(tmp_path, every=0.0))
    again = ended(ground, tasks, one, checkpoints=Checkpoints(tmp_path, every=0.0))
    assert all(torch.equal(t, whole.weights[n]) for n, t in again.weights.items())


@pytest.mark.parametrize("share", [0.0, 1 / 3, 2 / 3, 1.0])
def test_the_way_back_to_the_start_is_saved_in_few_numbers_and_read_again(ground: Ground, tasks: Tasks, share: float) -> None:
    run = ended(ground, tasks, phase(0.3, plan=only((*FACTORS, "0.bias"), 0.3)))
    start = ground.start()
    found = part_way(start, run, share, EDITS)
    expected = mean([merged(start), merged(run.weights)], (1 - share, share))
    same(merged({**start, **found}), expected)
    assert "0.weight" not in found and "2.weight" not in found  # factors of the rank they had, no whole matrices
    moved = what_moved(ground.backbone, found, EDITS)
    if share == 0:
        assert moved is None
        return
    assert moved is not None and "LoRA" in moved.edits
    same(moved.onto(ground.backbone).start(), expected)


def test_a_soup_is_saved_as_plain_weights_and_read_again(ground: Ground, tasks: Tasks) -> None:
    found = ended(ground, tasks, Average(members=MEMBERS["soup"], weights=(0.4, 0.6)))
    moved = what_moved(ground.backbone, found.weights, EDITS)
    assert moved is not None and moved.edits == "()" and set(moved.weights) == {"0.weight", "2.weight"}
    same(moved.onto(ground.backbone).start(), merged(found.weights))


def test_what_is_settled_is_the_same_network(ground: Ground, tasks: Tasks) -> None:
    start = ground.start()
    first, second = (ended(ground, tasks, *(phase(0.4),) * n).weights for n in (1, 2))
    found = settled(EDITS, second, first)
    assert all(found[n] is first[n] for n in found if n.startswith(("lora", "second")))
    same(merged(found), merged(second))
    same(edited(EDITS, {n: found[n] for n in start}), merged(second))
    alone = EDITS[0].merge({n: found[n] for n in start})
    same(EDITS[1].merge(alone), merged(second))
    assert not any(n.startswith("lora") or t.requires_grad for n, t in alone.items())
    assert all(t is first[n] for n, t in settled(EDITS, first, first).items())


def inside(through: str, share: float = 0.4) -> Adapt:
    one = maml(rate=0.3, steps=2, through=through, plan=only((*FACTORS, "head.*"), 0.3))
    return replace(one, phases=(Average(members=((), one.phases), weights=(1 - share, share)),))


@pytest.mark.parametrize("through", ["unroll", "first_order"])
def test_an_average_inside_adapt_is_of_changed_weights(ground: Ground, episodes: Episodes, tasks: Tasks, through: str) -> None:
    trained = ended(ground, tasks, phase(0.4)).weights  # so that the factors of the start act
    weights = {**{n: t for n, t in trained.items() if n in ground.start()}, **shared_head()}
    first, last = ({**weights, **tune(ground, inside(through, share), weights, episodes[:1], key(0))} for share in (0.0, 1.0))
    found = {**weights, **tune(ground, inside(through), weights, episodes[:1], key(0))}
    same(merged(found), mean([merged(first), merged(last)], (0.6, 0.4)))
    same(merged(first), merged(weights))
    if through == "unroll":
        slope = gradient(ground, outer_phase(inside(through)), weights, episodes)
        for name in ("lora.0.weight.up", "lora.2.weight.down", "second.2.weight.up", "0.weight"):
            near(slope[name], differences(lambda nudged: query_loss(ground, inside(through), nudged, episodes), weights, name))
