"""Rates by what gradients say of each layer: by hand, in both readings, and inside a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.train import train
from fewtune.parts.heads import Centroid
from fewtune.parts.inner import start, update
from fewtune.parts.optimizers import SGD, Adam, AdamW, Relative
from fewtune.parts.outer import outer
from fewtune.parts.plan import everything, resolve
from fewtune.recipes import read_method
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import WAYS

SHAPES = {"one.weight": (3, 4), "one.bias": (4,), "two.weight": (2, 2)}
CASES = (
    Relative(optimizer=SGD(momentum=0.9)),
    Relative(optimizer=AdamW(), threshold=0.4),
    Relative(optimizer=Adam(), by="snr"),
    Relative(optimizer=AdamW(), by="snr", threshold=0.5),
)


def weights(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {n: torch.randn(shape, generator=g, dtype=torch.float64) for n, shape in SHAPES.items()}


def ratio(held: dict[str, Tensor], gradient: dict[str, Tensor], names: tuple[str, ...]) -> float:
    return math.sqrt(sum(float((gradient[n] ** 2).sum()) for n in names)) / math.sqrt(sum(float((held[n] ** 2).sum()) for n in names))


def test_a_layer_s_rate_is_its_relative_gradient_over_the_largest() -> None:
    held, gradient = weights(0), weights(1)
    one, two = ratio(held, gradient, ("one.weight", "one.bias")), ratio(held, gradient, ("two.weight",))
    factors = {"one.weight": one / max(one, two), "one.bias": one / max(one, two), "two.weight": two / max(one, two)}
    moved, _ = update(Relative(), held, gradient, start(Relative(), held), dict.fromkeys(held, 0.1))
    for n in held:
        torch.testing.assert_close(moved[n], held[n] - 0.1 * factors[n] * gradient[n])
    assert max(factors.values()) == 1 > min(factors.values())


def test_a_new_head_moves_at_the_whole_rate_and_is_not_compared() -> None:
    held, gradient = weights(0) | {"head.weight": torch.zeros(2, dtype=torch.float64)}, weights(1) | {"head.weight": torch.ones(2).double()}
    without = update(Relative(), weights(0), weights(1), start(Relative(), held), dict.fromkeys(held, 0.1))[0]
    moved = update(Relative(), held, gradient, start(Relative(), held), dict.fromkeys(held, 0.1))[0]
    assert moved["head.weight"].tolist() == [-0.1, -0.1]
    assert all(torch.equal(moved[n], without[n]) for n in without)


def test_below_the_threshold_a_layer_stands_still() -> None:
    held = weights(0)
    gradient = {n: t * (1e-3 if n.startswith("two") else 1) for n, t in weights(1).items()}
    moved = update(Relative(threshold=0.1), held, gradient, start(Relative(), held), dict.fromkeys(held, 0.1))[0]
    assert moved["two.weight"] is held["two.weight"] and not torch.equal(moved["one.bias"], held["one.bias"])


def test_signal_to_noise_is_read_off_the_running_means() -> None:
    """A layer whose gradient never changes against one that is noise around 0: the second hardly moves."""
    spec = Relative(optimizer=Adam(betas=(0.9, 0.9)), by="snr")
    held = {"still.weight": torch.zeros(50, dtype=torch.float64), "noise.weight": torch.zeros(50, dtype=torch.float64)}
    state: Any = start(spec, held)
    g = torch.Generator().manual_seed(0)
    for _ in range(30):
        before = held
        gradient = {"still.weight": torch.ones(50).double(), "noise.weight": torch.randn(50, generator=g, dtype=torch.float64)}
        held, state = update(spec, held, gradient, state, dict.fromkeys(held, 0.1))
    steps = {n: float((held[n] - before[n]).abs().mean()) for n in held}
    assert steps["still.weight"] == pytest.approx(0.1, rel=0.05) and steps["noise.weight"] < 0.01
    mean, square = state.slots["noise.weight"]
    assert float((mean**2).sum() / (square.sum() - (mean**2).sum())) < 0.2


@pytest.mark.parametrize("spec", CASES, ids=repr)
def test_both_readings_agree_and_resume_bit_for_bit(spec: Relative) -> None:
    gradients = [weights(s) for s in range(1, 8)]
    inner, state = weights(0), start(spec, weights(0))
    for gradient in gradients:
        inner, state = update(spec, inner, gradient, state, dict.fromkeys(inner, 0.05))
    plan = resolve(everything(0.05), SHAPES)
    ours, halfway = weights(0), weights(0)
    whole, first = outer(spec, ours, plan), outer(spec, halfway, plan)
    for step, gradient in enumerate(gradients):
        whole.step(gradient, step, len(gradients))
    for step, gradient in enumerate(gradients[:3]):
        first.step(gradient, step, len(gradients))
    again = {n: t.clone() for n, t in halfway.items()}
    second = outer(spec, again, plan)
    second.load(first.state())
    for step, gradient in enumerate(gradients[3:], 3):
        second.step(gradient, step, len(gradients))
    for n in SHAPES:
        torch.testing.assert_close(ours[n], inner[n], rtol=1e-10, atol=1e-11)
        assert torch.equal(again[n], ours[n])


def test_it_trains_sources_and_supports(ground: Ground, tasks: Tasks, weights: dict[str, Tensor], episodes: Any) -> None:
    phase = Phase(sampler=Sampled(ways=WAYS, shots=2, queries=3), learner=Centroid(), plan=everything(0.1), steps=2, optimizer=Relative())
    found = train(ground, (phase,), tasks, key(0))
    assert {"0.weight", "2.weight"} <= {*found.moved}
    inner = Phase(sampler=Sampled(ways=WAYS, shots=1, queries=1), learner=Centroid(), plan=everything(0.1), steps=2, optimizer=Relative())
    assert {"0.weight"} <= tune(ground, Adapt(phases=(inner,), then=Centroid()), weights, episodes[:1], key(0)).keys()


def test_the_recipe_and_what_does_not_go_together() -> None:
    method = read_method("auto_surgical(on='support', by='snr', optimizer=AdamW(), threshold=0.1, steps=3)")
    assert method.learner.phases[0].optimizer == Relative(optimizer=AdamW(), by="snr", threshold=0.1)  # type: ignore[union-attr]
    assert read_method("auto_surgical(optimizer=Relative(by='norm'))").phases[0].optimizer == Relative()  # type: ignore[union-attr]
    for odd in ("Relative(by='snr')", "Relative(threshold=1.0)", "Relative(by='size')"):
        with pytest.raises(InputError):
            read_method(f"standard(optimizer={odd})")
