"""Laws of weightings in a training run: how gradients are compared, what is remembered, and that a run goes on from where it was left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.train import train
from fewtune.learning.weighing import Weighing
from fewtune.machine import Machine
from fewtune.parts.aggregators import (
    CaGrad,
    Dwa,
    Famo,
    GradNorm,
    GradVac,
    GroupDro,
    ImtlL,
    Mean,
    MinNorm,
    Nash,
    PcGrad,
    Uncertainty,
    UpGrad,
)
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy
from fewtune.parts.meeting import embedding, meeting
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import everything, only
from fewtune.stopping import Stopped, ask_to_stop
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows, group_tasks
from tests.laws.grounds import Asked, double_ground, maml, outer_phase
from tests.tiny import images

TABLE = Linear(rows="class", start="random")
REMEMBER = (
    Dwa(window=2),
    Famo(),
    GradNorm(gram="layer"),
    GradVac(),
    GroupDro(relative=True),
    ImtlL(),
    PcGrad(every=3),
    Nash(every=2, gram="layer"),
    Uncertainty(),
)


def names(values: Any) -> str:
    return repr(values)


@pytest.fixture(scope="module")
def groups(ground: Ground) -> Tasks:
    return group_tasks(ground.space)


def phase_of(aggregator: Any, **given: Any) -> Phase:
    """The three groups in turn, six rows of each, on a table of rows of classes that starts at random."""
    whole = {"sampler": PerTask(batch=6), "plan": everything(0.05), "batch": 3, "steps": 6, "optimizer": SGD(momentum=0.9), **given}
    return Phase(learner=TABLE, aggregator=aggregator, **whole)


def found(ground: Ground, phase: Phase, tasks: Tasks, weights: Mapping[str, Tensor], **spread: Any) -> dict[str, Tensor]:
    """The direction of one step."""
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items() if t.is_floating_point()}
    episodes = phase.sampler.draw(tasks, key(1), 0, phase.batch)
    answer = answering(ground, phase, {**weights, **leaves}, key(3), origin=weights)
    gradients, _ = direction(phase, answer, leaves, episodes, key(3), origin=weights, **spread)
    return {n: torch.zeros_like(leaves[n]) if g is None else g for n, g in gradients.items()}


def start(ground: Ground) -> dict[str, Tensor]:
    declared = ground.declared(TABLE)
    return {**ground.start(), **{n: t.double() if t.is_floating_point() else t for n, t in declared.items()}}


# three ways to compare gradients


@pytest.mark.parametrize("aggregator", [PcGrad(), MinNorm(), CaGrad(), Nash(), UpGrad()], ids=names)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_by_layers_is_exact(ground: Ground, groups: Tasks, aggregator: Any, parts: int) -> None:
    """Also where an Anchor reads every weight, and where the batch is answered in parts."""
    weights = start(ground)
    for losses in ((CrossEntropy(),), (CrossEntropy(), Anchor(strength=0.3))):
        exact = phase_of(aggregator, losses=losses, batch=5)
        layered = replace(exact, aggregator=replace(aggregator, gram="layer"))
        near(found(ground, layered, groups, weights, parts=parts), found(ground, exact, groups, weights))


def near(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], rtol: float = 1e-7) -> None:
    assert ours.keys() == expected.keys() and all(float(t.abs().max()) > 1e-6 for t in expected.values())
    for n in expected:
        torch.testing.assert_close(ours[n], expected[n], rtol=rtol, atol=rtol * float(expected[n].abs().max()))


class Mixed(nn.Module):
    """Layers of every sort: a convolution, a norm, a linear layer that is used twice, one whose weight is used otherwise too, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.twice, self.otherwise, self.plain = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False)
        self.place = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x).flatten(2).mT  # tokens
        x = self.twice(torch.tanh(self.twice(self.norm(x))))
        x = x + self.place(self.otherwise(x)) @ self.otherwise.weight
        return self.plain(x).mean(dim=1)


@pytest.mark.parametrize("lora", [False, True])
def test_by_layers_is_exact_in_any_network(lora: bool) -> None:
    from fewtune.backbones.backbone import Backbone

    torch.manual_seed(0)
    backbone = Backbone.of(Mixed(), size=8, machine=Machine(device="cpu"))
    pixels = images(24, height=8, width=8)
    space = RowSpace(
        [make_examples(Pixels(pixels), np.repeat(np.arange(4), 6), class_names=list("abcd"), groups=list("w" * 12 + "x" * 12))]
    )
    ground = Ground(backbone, space, edits=(LoRA(rank=2, patterns=("twice.weight", "plain.weight", "convolution.weight")),) if lora else ())
    weights = {
        n: t + torch.linspace(-0.2, 0.3, t.numel()).view_as(t) if ".up" in n else t
        for n, t in {**ground.start(), **ground.declared(TABLE)}.items()
    }
    exact = phase_of(MinNorm(), batch=2)
    by_layer = replace(exact, aggregator=MinNorm(gram="layer"))
    tasks = group_tasks(space)
    near(found(ground, by_layer, tasks, weights), found(ground, exact, tasks, weights), rtol=2e-5)


def test_by_layers_is_exact_on_a_network_of_images_and_inner_loops(ground: Ground, groups: Tasks) -> None:
    learner = maml(steps=2, through="first_order")
    exact = outer_phase(learner, sampler=Sampled(ways=2, shots=2, queries=3, task="collection"), aggregator=PcGrad(), batch=5)
    exact = replace(exact, learner=maml(steps=2, through="first_order", learner=Linear(start="shared", ways=2)))
    weights = {**ground.start(), "head.weight": torch.ones(2, 4).double() / 3, "head.bias": torch.zeros(2).double()}
    near(found(ground, replace(exact, aggregator=PcGrad(gram="layer")), groups, weights), found(ground, exact, groups, weights))
    backbone = load_backbone("conv4,size=16,width=4", machine=Machine(device="cpu"))
    space = RowSpace([make_examples(Pixels(images(24, height=16, width=16)), np.repeat(np.arange(4), 6), class_names=list("abcd"))])
    pictures = Ground(backbone, space)
    episodes = outer_phase(Centroid(), sampler=Sampled(ways=2, shots=1, queries=2), aggregator=PcGrad(), batch=3)
    by_layer = replace(episodes, aggregator=PcGrad(gram="layer"))
    moved = {n: t for n, t in backbone.start().items() if t.is_floating_point()}
    near(
        found(pictures, by_layer, class_rows(space), moved),
        found(pictures, episodes, class_rows(space), moved),
        rtol=1e-4,
    )


@pytest.mark.parametrize("parts", [1, 2])
def test_at_the_features_gradients_are_those_of_one_more_layer(ground: Ground, groups: Tasks, parts: int) -> None:
    """By hand: the network, a linear layer that is the identity, and its gradients by weight and bias for each task."""
    weights, phase = start(ground), phase_of(MinNorm(gram="representation", scale="own"))
    ours = found(ground, phase, groups, weights, parts=parts)
    episodes = phase.sampler.draw(groups, key(1), 0, 3)
    rows = torch.from_numpy(np.stack([np.asarray(ground.space.fetch(i)) for i in range(len(ground.space))])).double()
    whole, top = [], []
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items() if t.is_floating_point()}
    layer, bias = torch.eye(4).double().requires_grad_(), torch.zeros(4).double().requires_grad_()
    for e in range(3):
        hidden = torch.tanh(rows[episodes.query[e]] @ leaves["0.weight"].T + leaves["0.bias"])
        features = (hidden @ leaves["2.weight"].T + leaves["2.bias"]) @ layer.T + bias
        mine = episodes.classes[e]
        logits = features @ leaves["head.weight"][mine].T + leaves["head.bias"][mine]
        loss = nn.functional.cross_entropy(logits, episodes.query_label[e])
        slopes = torch.autograd.grad(loss, [layer, bias, *leaves.values()])
        top.append(torch.cat([g.flatten() for g in slopes[:2]]))
        whole.append(dict(zip(leaves, slopes[2:], strict=True)))
    g = torch.stack(top)
    from fewtune.parts.aggregators import Seen

    w, _ = MinNorm().weigh(Seen(tasks=torch.arange(3), losses=torch.ones(3).double(), gram=g @ g.T), {})
    near(ours, {n: sum((w[t] * whole[t][n] for t in range(3)), torch.zeros_like(whole[0][n])) for n in leaves}, rtol=1e-6)


def test_a_head_says_where_its_tasks_meet() -> None:
    from fewtune.parts.meeting import meetings

    features, rows = torch.ones(2, 3, 4, requires_grad=True), torch.zeros(2, 3)
    with meetings() as found:
        assert embedding(features, rows) is features and meeting(features * 2) is not features
        meeting(features.detach())
    assert len(found.backbone) == 1 and len(found.heads) == 1
    assert meeting(features) is features and len(found.heads) == 1


def test_features_that_do_not_move_cannot_be_compared(ground: Ground, groups: Tasks) -> None:
    phase = phase_of(PcGrad(gram="representation"), plan=only("head.*", 0.1), steps=1)
    with pytest.raises(InputError, match=r"nothing below them moves .* use gram='layer'"):
        train(ground, (phase,), groups, key(0))
    train(ground, (replace(phase, aggregator=PcGrad(gram="layer")),), groups, key(0))


def test_tasks_of_a_shared_bottom_meet_after_its_trunk() -> None:
    """Also over features that do not move."""
    from fewtune.keys import key as key_of
    from fewtune.parts.meeting import meetings
    from fewtune.parts.sharing.shared_bottom import SharedBottom
    from fewtune.tasks.episodes import Episodes

    head, rows = SharedBottom(outputs=(2, 3), width=6), torch.arange(4).expand(2, 4)
    none, classes = torch.zeros(2, 0, dtype=torch.int64), torch.tensor([[0, 1, -1], [2, 3, 4]])
    episodes = Episodes(none, none, rows, rows % 2, classes, torch.arange(2))
    parameters = {n: t.requires_grad_(t.is_floating_point()) for n, t in head.declare(5).items()}
    query = torch.randn(2, 4, 5, generator=key_of(0).torch_generator())
    with meetings() as found:
        head.score(head.fit(query[:, :0], episodes, None, parameters), query, parameters)
    (features,) = found.heads
    assert features.shape == (2, 4, 6)


# what is remembered


@pytest.mark.parametrize("aggregator", REMEMBER, ids=names)
def test_a_run_goes_on_bit_for_bit(tmp_path: Path, groups: Tasks, aggregator: Any) -> None:
    ground, phase = double_ground(), phase_of(aggregator)
    whole = train(ground, (phase,), groups, key(0))
    kept = Checkpoints(tmp_path)
    with pytest.raises(Stopped):
        train(ground, (replace(phase, sampler=Asked(phase.sampler, 3, ask_to_stop)),), groups, key(0), checkpoints=kept)
    saved = kept.state("0")
    assert saved is not None and any(n.startswith("aggregator/") for n in saved.tensors) and saved.facts["step"] == 3
    again = train(ground, (phase,), groups, key(0), checkpoints=kept)
    for n, t in whole.weights.items():
        assert torch.equal(again.weights[n], t), n
    assert [row["loss"] for row in again.curve] == [row["loss"] for row in whole.curve]


@pytest.mark.parametrize("aggregator", REMEMBER, ids=names)
def test_what_is_remembered_matters(groups: Tasks, aggregator: Any) -> None:
    """A run that forgets (each step in a phase of its own) ends elsewhere: the state is used."""
    ground, step = double_ground(), phase_of(aggregator, steps=1, optimizer=SGD(), sampler=Pooled(batch=6))
    step = replace(step, sampler=PerTask(batch=60))  # whole tasks: every step sees the same rows
    once = train(ground, (replace(step, steps=6),), groups, key(0))
    apart = train(ground, (step,) * 6, groups, key(0))
    assert any(not torch.equal(once.weights[n], apart.weights[n]) for n in once.moved)


def test_weights_are_used_again_for_every_steps(ground: Ground, groups: Tasks) -> None:
    weights, phase = start(ground), phase_of(PcGrad(every=3))
    weighing = Weighing(phase.aggregator, 3)
    first = found(ground, phase, groups, weights, weighing=weighing)
    near(first, found(ground, replace(phase, aggregator=PcGrad()), groups, weights))
    used = weighing.state()["used"]
    other = {n: t * 1.5 if t.is_floating_point() else t for n, t in weights.items()}
    for _ in range(2):
        again = found(ground, phase, groups, other, weighing=weighing)
        plain = [found(ground, replace(phase, aggregator=Mean(), batch=1, sampler=At(phase.sampler, t)), groups, other) for t in range(3)]
        near(again, {n: sum((used[t] * plain[t][n] for t in range(3)), torch.zeros_like(again[n])) for n in again})
        assert torch.equal(weighing.state()["used"], used)
    found(ground, phase, groups, other, weighing=weighing)
    assert not torch.equal(weighing.state()["used"], used)


class At:
    """The one episode of a sampler at a place."""

    def __init__(self, sampler: Any, place: int) -> None:
        self._sampler, self._place = sampler, place

    def draw(self, tasks: Tasks, where: Any, first: int, count: int) -> Any:
        return self._sampler.draw(tasks, where, self._place + first, count)


def test_a_task_without_a_weight_makes_weights_be_computed(ground: Ground, groups: Tasks) -> None:
    weights, phase = start(ground), phase_of(PcGrad(every=5), batch=2)
    weighing = Weighing(phase.aggregator, 3)
    found(ground, phase, groups, weights, weighing=weighing)
    assert weighing.state()["used"].isnan().tolist() == [False, False, True]
    found(ground, replace(phase, batch=3), groups, weights, weighing=weighing)
    assert not bool(weighing.state()["used"].isnan().any())


def test_absent_tasks_keep_their_state(ground: Ground, groups: Tasks) -> None:
    """Two tasks a step: the third one's entry does not move."""
    weights, phase = start(ground), phase_of(Uncertainty(), batch=2)
    weighing = Weighing(phase.aggregator, 3)
    found(ground, phase, groups, weights, weighing=weighing)
    s = weighing.state()["s"]
    assert float(s[2]) == 0 and bool((s[:2] != 0).all())


def test_famo_looks_back_at_the_same_batch(groups: Tasks) -> None:
    """xi after one step, from the losses of the same rows before and after it."""
    ground, aggregator = double_ground(), Famo()
    phase = phase_of(aggregator, steps=1, optimizer=SGD())
    run = train(ground, (phase,), groups, key(0))
    at = key(0).child("source", 0)
    episodes = phase.sampler.draw(groups, at.child("draw"), 0, 3)
    before, after = (
        torch.tensor([float(loss_of(ground, w, episodes[t : t + 1])) for t in range(3)], dtype=torch.float64)
        for w in ({**ground.start(), **ground.declared(TABLE)}, run.weights)
    )
    from fewtune.parts.aggregators import Seen

    expected = aggregator.look_back(Seen(tasks=torch.arange(3), losses=before), after, aggregator.begin(3))
    kept: list[Weighing] = []
    seen_state(groups, phase, kept)
    torch.testing.assert_close(kept[0].state()["xi"], expected["xi"], rtol=1e-9, atol=0.0)


def loss_of(ground: Ground, weights: Mapping[str, Tensor], episodes: Any) -> Tensor:
    phase = phase_of(Mean())
    return CrossEntropy()(answering(ground, phase, weights, key(0))(episodes, [0])).detach()


def seen_state(groups: Tasks, phase: Phase, kept: list[Weighing]) -> None:
    """Runs the phase and gives back its weighing."""
    import fewtune.learning.loop as room

    usual = room.weighing_of

    def noted(*given: Any) -> Weighing:
        kept.append(usual(*given))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "weighing_of", noted)
        train(double_ground(), (phase,), groups, key(0))


# what counts as a task


@pytest.mark.parametrize("aggregator", [Uncertainty(), GradNorm(), PcGrad(every=2)], ids=names)
@pytest.mark.parametrize("sampler", [Sampled(ways=2, shots=1, queries=2), InSequence(ways=2, rows=4, batch=4)], ids=names)
def test_episodes_that_never_come_again_are_not_remembered(ground: Ground, groups: Tasks, aggregator: Any, sampler: Any) -> None:
    phase = Phase(sampler=sampler, learner=Centroid(), plan=only("group:*", 0.1), steps=2, batch=4, aggregator=aggregator)
    with pytest.raises(InputError, match=f"{type(aggregator).__name__} remembers tasks .* set task='collection'"):
        train(ground, (phase,), groups, key(0))
    if isinstance(sampler, Sampled):
        train(ground, (replace(phase, sampler=replace(sampler, task="collection")),), groups, key(0))


@pytest.mark.parametrize("aggregator", [Uncertainty(), PcGrad(every=2), Famo()], ids=names)
def test_inside_adapt_nothing_is_remembered(ground: Ground, groups: Tasks, aggregator: Any) -> None:
    with pytest.raises(InputError, match=f"{type(aggregator).__name__} remembers tasks .* inside Adapt"):
        maml(steps=1, aggregator=aggregator)
    with pytest.raises(InputError, match=f"{type(aggregator).__name__} remembers tasks .* an inner loop begins anew"):
        found(ground, phase_of(aggregator), groups, start(ground))
    assert isinstance(maml(steps=1, aggregator=PcGrad()), Adapt)


@pytest.mark.parametrize("aggregator", [*REMEMBER, PcGrad(gram="layer"), MinNorm(gram="representation")], ids=names)
def test_a_batch_of_one(groups: Tasks, aggregator: Any) -> None:
    """One episode a step is the plain gradient of its task."""
    ground, phase = double_ground(), phase_of(aggregator, batch=1, steps=4)
    ours, plain = (train(ground, (replace(phase, aggregator=a),), groups, key(0)) for a in (aggregator, Mean()))
    for n, t in plain.weights.items():
        torch.testing.assert_close(ours.weights[n], t, rtol=1e-6, atol=1e-8)


def test_the_weights_of_tasks_are_on_the_curve(ground: Ground, groups: Tasks) -> None:
    """Of each step, by the number of the task; nothing where the weights are always the same."""
    from fewtune.learning.train import train

    for aggregator, some in ((MinNorm(), True), (MinNorm(every=3), True), (Mean(), False)):
        phase = replace(phase_of(aggregator), steps=4)
        curve = train(ground, (phase,), groups, key(0)).curve
        if not some:
            assert all("task_weights" not in row for row in curve)
            continue
        found = [row["task_weights"] for row in curve]
        assert all(set(one) == {"0", "1", "2"} and all(np.isfinite(list(one.values()))) for one in found)
        same = [one == other for one, other in itertools.pairwise(found)]
        assert same == ([True, True, False] if aggregator.every == 3 else [False, False, False])
