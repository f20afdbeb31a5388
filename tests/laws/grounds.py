"""A small network in float64 on vectors of six classes, and the engine's functions as laws ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Item, Modality, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering, respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Implicit, Phase
from fewtune.machine import Machine
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import CrossEntropy
from fewtune.parts.plan import Plan, everything, only
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows

WAYS, WIDTH, INPUTS = 3, 4, 5


@dataclass(frozen=True)
class Doubles:
    """Vectors in float64, so that finite differences mean something."""

    modality: Modality = "vector"
    text: str = "doubles"

    def prepare(self, item: Item) -> Tensor:
        return torch.from_numpy(np.asarray(item, dtype=np.float64))

    def batch(self, prepared: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(prepared))


def double_network() -> nn.Sequential:
    double = {"dtype": torch.float64}
    return nn.Sequential(nn.Linear(INPUTS, 6, **double), nn.Tanh(), nn.Linear(6, WIDTH, **double))


def double_ground(**machine: Any) -> Ground:
    """60 vectors of 6 classes in 3 groups, and a network of two layers; `machine` as Machine takes it."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 10)
    vectors = (random.normal(size=(6, INPUTS))[labels] + 0.7 * random.normal(size=(60, INPUTS))).astype(np.float32)
    names, groups = [f"c{i}" for i in range(6)], [f"g{label // 2}" for label in labels]
    space = RowSpace([make_examples(Vectors(vectors), labels, class_names=names, groups=groups)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = double_network().eval()
    parameters = [n for n, _ in network.named_parameters()]
    layers = (("stem", tuple(parameters[:2])), ("final", tuple(parameters[2:])))
    here = Machine(device="cpu", dtype="float32", **machine).resolved()
    return Ground(Backbone("test", network, Doubles(), WIDTH, layers, here, {}, "test"), space)


def some_episodes(tasks: Tasks, count: int = 2) -> Episodes:
    return Sampled(ways=WAYS, shots=2, queries=3).draw(tasks, key(1), 0, count)


def all_classes(ground: Ground) -> Tasks:
    return class_rows(ground.space)


def shared_head() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(WAYS, WIDTH, dtype=torch.float64, generator=generator)
    return {"head.weight": 0.5 * weight, "head.bias": torch.zeros(WAYS, dtype=torch.float64)}


def maml(
    *,
    rate: float = 0.3,
    steps: int,
    through: str | Implicit = "unroll",
    plan: str | Plan = "*",
    losses: tuple[object, ...] = (CrossEntropy(),),
    **given: Any,
) -> Adapt:
    """Inner steps from a shared head on the whole support."""
    head = given.get("learner", Linear(start="shared", ways=WAYS))
    moved = only(plan, rate) if isinstance(plan, str) else plan
    inner = Phase(**{"sampler": Pooled(), "learner": head, "plan": moved, "steps": steps, "losses": losses, **given})
    return Adapt(phases=(inner,), then=head, through=through)  # type: ignore[arg-type]


def outer_phase(learner: object, **given: Any) -> Phase:
    whole = {"sampler": Sampled(ways=WAYS, shots=2, queries=3), "learner": learner, "plan": everything(1.0), "steps": 1, **given}
    return Phase(**whole)


def gradient(ground: Ground, phase: Phase, weights: Mapping[str, Tensor], episodes: Episodes, **given: Any) -> dict[str, Tensor]:
    """The direction of one step by every weight; zeros where it has none."""
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items()}
    found, _ = direction(phase, answering(ground, phase, leaves, key(0)), leaves, episodes, key(0), origin=weights, **given)
    return {n: torch.zeros_like(weights[n]) if g is None else g for n, g in found.items()}


def query_loss(ground: Ground, learner: object, weights: Mapping[str, Tensor], episodes: Episodes) -> float:
    outcome = respond(ground, learner, weights, episodes, key(0))  # type: ignore[arg-type]
    return float(CrossEntropy()(outcome).mean().detach())


def differences(
    loss: Callable[[Mapping[str, Tensor]], float], weights: Mapping[str, Tensor], name: str, *, count: int = 4, step: float = 1e-5
) -> list[tuple[int, float]]:
    """(place, central difference of the loss) for some entries of a weight."""
    size = weights[name].numel()
    found = []
    for place in np.random.default_rng(2).choice(size, size=min(count, size), replace=False).tolist():
        ends = []
        for sign in (1, -1):
            nudged = {n: t.clone() for n, t in weights.items()}
            nudged[name].view(-1)[place] += sign * step
            ends.append(loss(nudged))
        found.append((place, (ends[0] - ends[1]) / (2 * step)))
    return found


def near(found: Tensor, expected: Sequence[tuple[int, float]], *, rel: float = 1e-5, abs: float = 1e-8) -> None:
    """The gradient has these entries at these places."""
    for place, value in expected:
        assert found.reshape(-1)[place].item() == pytest.approx(value, rel=rel, abs=abs)


@dataclass
class Asked:
    """A sampler that does something at one draw: what a hook would be."""

    sampler: Any
    at: int
    act: Callable[[], None]
    seen: list[int] = field(default_factory=list)

    def draw(self, tasks: Tasks, where: Any, first: int, count: int) -> Episodes:
        if first == self.at * count:
            self.act()
        self.seen.append(first)
        drawn: Episodes = self.sampler.draw(tasks, where, first, count)
        return drawn
