"""A loss that is kept below a bound: against scipy on a convex problem, without a bound, and on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase, phases_of
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, AtMost, CrossEntropy, SupervisedContrast
from fewtune.parts.losses.loss import Loss
from fewtune.parts.optimizers import SGD, Adam
from fewtune.parts.plan import Plan, everything
from fewtune.recipes import multitask, read_method
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

HEAD = Linear(rows="class", bias=False, name="source")
LABELS = np.repeat(np.arange(3), 20)


@pytest.fixture(scope="module")
def ground() -> Ground:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(3, 4))[LABELS] + random.normal(size=(60, 4))).astype(np.float32)
    space = RowSpace([make_examples(Vectors(vectors), LABELS)])
    return Ground(load_backbone("mlp,inputs=4,width=3,depth=1", machine=Machine(device="cpu").resolved()), space)


def head_phase(*more: Loss, steps: int = 3000) -> Phase:
    """The linear head alone moves, by all rows in every step: a convex problem."""
    plan = Plan(rules=(("multipliers.*", 0.5), ("source.*", 0.3), ("*", 0.0)))
    return Phase(sampler=Pooled(), learner=HEAD, plan=plan, steps=steps, losses=(CrossEntropy(), *more), optimizer=SGD())


@pytest.mark.slow
def test_the_best_weights_within_the_bound_are_those_of_scipy(ground: Ground) -> None:
    """min CE(W) subject to |W|^2 / 2 <= eps, for a bound that is tight and one that is not reached."""
    tasks = class_rows(ground.space)
    with torch.no_grad():
        x = ground.embed(ground.start(), torch.arange(60)[None])[0].double().numpy()

    def cost(w: np.ndarray) -> float:  # type: ignore[type-arg]
        return -float(log_softmax(x @ w.reshape(3, 3).T, axis=1)[np.arange(60), LABELS].mean())

    for most in (0.4, 2.0):
        constraint = {"type": "ineq", "fun": lambda w, most=most: most - float(w @ w) / 2}
        best = minimize(cost, np.zeros(9), constraints=[constraint], method="SLSQP", tol=1e-12)
        run = train(ground, (head_phase(AtMost(loss=Anchor(strength=1.0), most=most)),), tasks, key(0))
        found = run.weights["source.weight"].double().numpy()
        assert float((found**2).sum()) / 2 == pytest.approx(most, rel=2e-3)  # tight
        np.testing.assert_allclose(found.ravel(), best.x, atol=5e-3)
        multiplier = float(run.weights["multipliers.constraint"].exp())
        slope = (cost(best.x * 1.001) - cost(best.x * 0.999)) / 0.002  # dCE / d log |W|; lambda |W|^2 balances it
        assert multiplier == pytest.approx(-slope / (2 * most), rel=2e-2)
    free = train(ground, (head_phase(steps=400),), tasks, key(0)).weights["source.weight"]
    loose = train(ground, (head_phase(AtMost(loss=Anchor(strength=1.0), most=1e3), steps=400),), tasks, key(0)).weights
    assert float(loose["multipliers.constraint"]) < -15  # a bound that is kept weighs nothing in the end
    torch.testing.assert_close(loose["source.weight"], free, rtol=0.05, atol=0.05)


def test_without_a_bound_it_is_multitask_finetuning(ground: Ground) -> None:
    tasks = class_rows(ground.space)
    plain = multitask(ways=3, shots=2, queries=3, steps=6)
    unbound = multitask(ways=3, shots=2, queries=3, steps=6, constraint=SupervisedContrast())
    one, other = (train(ground, phases_of(m.phases), tasks, key(0)) for m in (plain, unbound))  # type: ignore[arg-type]
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name
    assert [row["loss"] for row in one.curve] == [row["loss"] for row in other.curve]


def test_a_contrastive_loss_is_kept_while_tasks_are_learned(ground: Ground) -> None:
    """Without the bound it ends above it; with it, below, at the price of the tasks' loss."""
    tasks = class_rows(ground.space)
    contrast = SupervisedContrast(temperature=1.0)

    def ends(most: float) -> tuple[float, float]:
        draw = {"ways": 3, "shots": 5, "queries": 10}
        method = multitask(**draw, steps=300, lr=0.01, optimizer=Adam(), constraint=contrast, most=most, multiplier_lr=0.05)  # type: ignore[arg-type]
        weights = train(ground, method.phases, tasks, key(0)).weights
        episodes = Sampled(**draw).draw(tasks, key(9), 0, 40)
        with torch.no_grad():
            outcome = respond(ground, phases_of(method.phases)[0].learner, weights, episodes, key(0))
        return float(contrast(outcome).mean()), float(CrossEntropy()(outcome).mean())

    free, tasks_free = ends(math.inf)
    held, tasks_held = ends(free - 0.1)
    assert held < free - 0.08 and tasks_held > tasks_free


def test_its_text_reads_back_and_it_is_for_source_phases(ground: Ground) -> None:
    method = read_method("multitask(constraint=SupervisedContrast(temperature=0.5), most=1.5)")
    assert AtMost(loss=SupervisedContrast(temperature=0.5), most=1.5) in phases_of(method.phases)[0].losses
    for options in ({"start": 0.0}, {"most": math.nan}, {"name": ""}):
        with pytest.raises(InputError, match="AtMost takes a bound"):
            AtMost(**options)  # type: ignore[arg-type]
    inner = Phase(sampler=Pooled(), learner=Linear(), plan=everything(0.1), steps=1, losses=(AtMost(loss=CrossEntropy(), most=0.1),))
    episodes = Sampled(ways=3, shots=2, queries=2).draw(class_rows(ground.space), key(0), 0, 1)

    with pytest.raises(InputError, match="use it in a source phase"):
        respond(ground, Adapt(phases=(inner,), then=Linear()), ground.start(), episodes, key(0))
