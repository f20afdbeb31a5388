"""Laws of episodes that adapt together: the same answers and gradients as one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Column, make_examples
from fewtune.data.items import Item, Modality, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY
from fewtune.keys import key
from fewtune.learning import engine
from fewtune.learning.declared import begin
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.together import fit_together
from fewtune.machine import Machine
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy, Displacement, Loss, SquaredError
from fewtune.parts.optimizers import SGD, Adam, Optimizer
from fewtune.parts.plan import Plan, everything, only
from fewtune.parts.rates import Learned
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.target_rows import target_tasks
from fewtune.tasks.task import class_rows

WAYS, WIDTH, N = 3, 4, 60
CE, SE, PLAIN = CrossEntropy(), SquaredError(), SGD()


@dataclass(frozen=True)
class Doubles:
    """Vectors in float64, so that equal means equal."""

    modality: Modality = "vector"
    text: str = "doubles"

    def prepare(self, item: Item) -> Tensor:
        return torch.from_numpy(np.asarray(item, dtype=np.float64))

    def batch(self, prepared: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(prepared))


@pytest.fixture(scope="module")
def ground() -> Ground:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), N // 6)
    vectors = (random.normal(size=(6, 5))[labels] + 0.7 * random.normal(size=(N, 5))).astype(np.float32)
    waves = Column("float", random.normal(size=(N, 2)))
    examples = make_examples(
        Vectors(vectors), labels, class_names=[f"c{i}" for i in range(6)], groups=[f"g{i % 3}" for i in range(N)]
    ).with_columns({"wave": waves})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, WIDTH)).double().eval()
    names = [n for n, _ in network.named_parameters()]
    machine = Machine(device="cpu", dtype="float32").resolved()
    return Ground(Backbone("test", network, Doubles(), WIDTH, (("all", tuple(names)),), machine, {}, "test"), RowSpace([examples]))


def learner(
    plan: Plan, *, ways: int = WAYS, steps: int = 3, through: str = "unroll", losses: tuple[Loss, ...] = (CE,), optimizer: Optimizer = PLAIN
) -> Adapt:
    head = Linear(start="shared", init="random", ways=ways)
    inner = Phase(sampler=Pooled(), learner=head, plan=plan, steps=steps, losses=losses, optimizer=optimizer)
    return Adapt(phases=(inner,), then=head, through=through)  # type: ignore[arg-type]


def episodes_of(ground: Ground, *, waves: bool) -> Episodes:
    if waves:
        return Points(shots=4, queries=6).draw(target_tasks(ground.space, "wave"), key(1), 0, 4)
    return Sampled(ways=WAYS, shots=2, queries=3).draw(class_rows(ground.space), key(1), 0, 4)


BODY = Plan(rules=(("head.*", 0.0), ("*", 0.3)))
CASES = {
    "all": (learner(everything(0.3)), (CE,)),
    "head": (learner(only("head.*", 0.3)), (CE,)),
    "body": (learner(BODY), (CE,)),
    "first order": (learner(everything(0.3), through="first_order"), (CE,)),
    "Adam": (learner(everything(0.05), optimizer=Adam()), (CE,)),
    "momentum": (learner(everything(0.1), optimizer=SGD(momentum=0.9)), (CE,)),
    "anchored": (learner(everything(0.3), losses=(CE, Anchor(strength=0.5, stop=False))), (CE,)),
    "displaced": (learner(everything(0.3), through="first_order"), (Displacement(),)),
    "learned rates": (learner(everything(Learned(lr=0.2, per="entry"))), (CE,)),
    "a rate a tensor": (learner(everything(Learned(lr=0.2, per="tensor"))), (CE,)),
    "no steps": (learner(everything(0.3), steps=0), (CE,)),
    "targets": (learner(everything(0.05), ways=2, losses=(SE,)), (SE,)),
}


@pytest.mark.parametrize("name", CASES)
def test_together_is_one_after_another(ground: Ground, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt, losses = CASES[name]
    episodes = replace(episodes_of(ground, waves=name == "targets"), task=torch.tensor([0, 0, 1, 2]))
    phase = Phase(sampler=Pooled(), learner=adapt, plan=everything(1.0), steps=1, losses=losses)
    start = {n: t.double() for n, t in begin(ground, (phase,)).items()}

    def found() -> tuple[dict[str, Tensor | None], Tensor, Tensor]:
        leaves = {n: t.clone().requires_grad_() for n, t in start.items()}
        answer = answering(ground, phase, leaves, key(0))
        with torch.no_grad():
            logits = answer(episodes, range(4)).logits
        return *direction(phase, answer, leaves, episodes, key(0), origin=start), logits

    assert fit_together(ground, adapt, start, episodes, IDENTITY)
    together = found()
    monkeypatch.setattr(engine, "fit_together", lambda *_: False)
    alone = found()
    torch.testing.assert_close(together[1], alone[1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(together[2], alone[2], rtol=1e-10, atol=1e-12)
    for n in start:
        mine, theirs = (torch.zeros_like(start[n]) if part[0][n] is None else part[0][n] for part in (together, alone))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_moved_together_is_moved_one_after_another(ground: Ground) -> None:
    episodes = episodes_of(ground, waves=False)
    adapt = learner(everything(0.1))
    weights = {**ground.start(), "head.weight": torch.zeros(WAYS, WIDTH), "head.bias": torch.zeros(WAYS)}
    assert fit_together(ground, adapt, weights, episodes, IDENTITY)
    more = torch.full((4, 1), -1)
    padded = replace(
        episodes, support=torch.cat([episodes.support, more], dim=1), support_label=torch.cat([episodes.support_label, more], dim=1)
    )
    (phase,) = adapt.phases
    assert isinstance(phase, Phase)
    batched = replace(adapt, phases=(replace(phase, sampler=Pooled(batch=2)),))
    own = replace(adapt, phases=(replace(phase, learner=Linear()),), then=Linear())
    for other, given in ((adapt, padded), (batched, episodes), (own, episodes), (replace(adapt, phases=(phase, phase)), episodes)):
        assert not fit_together(ground, other, weights, given, IDENTITY)
