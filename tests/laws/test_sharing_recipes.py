"""Every recipe for several label columns trains and answers all of them; what is random in training is keyed; limits of one by another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.declared import for_testing
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering, respond
from fewtune.learning.ground import Ground
from fewtune.learning.laid_out import is_sharing, laid_out
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained, train
from fewtune.machine import Machine
from fewtune.parts.losses import ByKind, SoftSharing
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import Plan, everything, only
from fewtune.parts.sharing import Independent, Mmoe, SharedBottom
from fewtune.recipes import read_method
from fewtune.recipes.sharing import SHARING
from fewtune.tasks import PerTask, Tasks, label_tasks
from fewtune.tasks.task import class_rows

NAMES = [recipe.__name__ for recipe in SHARING]
COLUMNS, OUTPUTS, WIDTH = ("genre", "rating", "tags"), (3, 1, 2), 8
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def table() -> RowSpace:
    """240 rows of eight numbers: a class, a number and two labels that follow from them, a third of each missing."""
    g = np.random.default_rng(0)
    x = g.normal(size=(240, WIDTH)).astype(np.float32)
    signal = x @ g.normal(size=(WIDTH, 6)).astype(np.float32)
    genre, rating, tags = signal[:, :3].argmax(1), signal[:, 3:4].astype(np.float64), (signal[:, 4:] > 0).astype(np.int64)
    missing = g.random((240, 3)) < 1 / 3
    genre[missing[:, 0]], rating[missing[:, 1]], tags[missing[:, 2]] = -1, np.nan, -1
    made = make_examples(Vectors(x), [str(c) if c >= 0 else None for c in genre])
    columns = {"genre": made.column, "rating": Column("float", rating), "tags": Column("multi", tags, ("sad", "loud"))}
    return RowSpace([replace(made, columns=columns, target="genre")])


@pytest.fixture(scope="module")
def ground(table: RowSpace) -> Ground:
    return Ground(load_backbone("precomputed", machine=Machine(device="cpu").resolved()), table)


@pytest.fixture(scope="module")
def tasks(table: RowSpace) -> Tasks:
    return label_tasks(table, COLUMNS)


def trained(ground: Ground, tasks: Tasks, method: Method) -> Trained:
    return train(ground, method.phases, tasks, key(0))


def losses(ground: Ground, tasks: Tasks, method: Method, weights: dict[str, Tensor]) -> Tensor:
    """The loss of each column over all its rows."""
    episodes = PerTask(batch=1000).draw(tasks, key(1), 0, len(tasks))
    return ByKind()(respond(ground, method.learner, for_testing(ground, method.learner, weights), episodes, key(2))).detach()


@each
def test_it_learns_all_columns_at_once(ground: Ground, tasks: Tasks, name: str) -> None:
    method = laid_out(read_method(f"{name}(steps=60, batch=32, lr=0.03, width=16)"), OUTPUTS, seed=1)
    (phase,) = method.phases
    assert isinstance(phase, Phase) and phase.batch == 3 and phase.learner == method.learner
    run = trained(ground, tasks, method)
    assert run.steps == 60 and all(np.isfinite(row["loss"]) for row in run.curve) and run.visits == 60 * 3 * 32
    nothing = torch.tensor([1.0986, 1.0, 0.6931])  # of an answer that is the same for all rows: ln 3, the variance, ln 2
    assert bool((losses(ground, tasks, method, run.weights) < 0.6 * nothing).all())
    assert all(n.startswith("head.") for n in run.moved)


@each
def test_without_label_columns_it_says_so(ground: Ground, name: str) -> None:
    method = read_method(f"{name}(steps=2)")
    assert is_sharing(method) and not is_sharing(read_method("multitask(steps=2)"))
    with pytest.raises(InputError, match="learns several label columns at once"):
        train(ground, method.phases, class_rows(ground.space), key(0))


@pytest.mark.parametrize("name", ["shared_bottom", "mmoe", "film"])
def test_the_network_below_moves_only_if_it_is_asked_to(table: RowSpace, tasks: Tasks, name: str) -> None:
    below = Ground(load_backbone(f"mlp,inputs={WIDTH},width=8", machine=Machine(device="cpu").resolved()), table)
    for moves in ("network", "all"):
        method = laid_out(read_method(f"{name}(steps=3, batch=8, width=8, moves='{moves}')"), OUTPUTS)
        moved = trained(below, tasks, method).moved
        assert any(n.startswith("head.") for n in moved)
        assert any(not n.startswith("head.") for n in moved) == (moves == "all")


def test_mixing_weights_have_a_rate_of_their_own(ground: Ground, tasks: Tasks) -> None:
    for option, moving in (("stitch_lr=0.0", "trunk"), ("lr=0.0", "stitch")):
        method = laid_out(read_method(f"cross_stitch(steps=2, {option})"), OUTPUTS)
        moved = trained(ground, tasks, method).moved
        assert any(".stitch." in n for n in moved) == (moving == "stitch") and any(".trunk." in n for n in moved) == (moving == "trunk")


def test_what_is_dropped_is_the_same_whole_and_in_parts_and_only_in_training(ground: Ground, tasks: Tasks) -> None:
    method = laid_out(read_method("mmoe(experts=3, dropout=0.5, width=8)"), OUTPUTS)
    (phase,) = method.phases
    assert isinstance(phase, Phase)
    weights = ground.declared(phase.learner)  # type: ignore[arg-type]
    episodes = phase.sampler.draw(tasks, key(0), 0, 6)

    def gradients(of: Phase, where: int, parts: int = 1) -> dict[str, Tensor]:
        leaves = {n: t.clone().requires_grad_() for n, t in weights.items()}
        found, _ = direction(of, answering(ground, of, leaves, key(where)), leaves, episodes, key(where), origin=weights, parts=parts)
        return {n: g for n, g in found.items() if g is not None}

    whole, parts = gradients(phase, 0), gradients(phase, 0, parts=4)
    assert all(torch.allclose(whole[n], parts[n], atol=1e-6) for n in whole) and set(whole) == set(weights)
    plain = replace(phase, learner=replace(phase.learner, dropout=0.0))
    assert not torch.allclose(whole["head.trunk.0.weight"], gradients(phase, 1)["head.trunk.0.weight"])
    assert not torch.allclose(whole["head.trunk.0.weight"], gradients(plain, 0)["head.trunk.0.weight"])
    asked = [respond(ground, one.learner, weights, episodes, key(0)).logits for one in (phase, plain)]
    assert torch.equal(*asked)  # nothing is dropped when it answers


def test_soft_sharing_goes_from_independent_to_one_network(ground: Ground, tasks: Tasks) -> None:
    """Strength 0 is independent to the bit. Large strengths of the square hold the networks together, where they move as one that all
    columns share."""

    def ends(head: object, *more: SoftSharing, rate: float = 0.05) -> dict[str, Tensor]:
        phase = Phase(
            sampler=PerTask(batch=1000), learner=head, plan=only("head.*", rate), steps=30, batch=3, losses=(ByKind(), *more),
            optimizer=SGD(),
        )  # fmt: skip
        return trained(ground, tasks, Method(phases=(phase,), learner=head)).weights  # type: ignore[arg-type]

    own, shared = Independent(outputs=OUTPUTS, width=6), SharedBottom(outputs=OUTPUTS, width=6)
    apart = ends(own)
    assert all(torch.equal(apart[n], t) for n, t in ends(own, SoftSharing(strength=0.0)).items())
    name = "head.trunk.0.weight"
    spread = {s: ends(own, SoftSharing(strength=s, squared=True))[name] for s in (0.2, 2.0)}
    distances = [float((t - t.mean(0)).norm()) for t in (apart[name], *spread.values())]
    assert distances[0] > 1.5 * distances[1] and distances[1] > 4 * distances[2] > 0
    # the mean of T networks of which each has its own loss moves by a T-th of the gradient that the shared one has
    mean = ends(own, SoftSharing(strength=2.0, squared=True))[name].mean(0)
    start = shared.declare(WIDTH)[name]
    slow = Phase(
        sampler=PerTask(batch=1000), learner=shared, plan=Plan(rules=(("head.out.*", 0.05), ("head.*", 0.05 / 3))),
        steps=30, batch=3, losses=(ByKind(),), optimizer=SGD(),
    )  # fmt: skip
    one = trained(ground, tasks, Method(phases=(slow,), learner=shared)).weights[name]
    assert float((mean - one).norm()) < 0.05 * float((one - start).norm())


def test_a_column_that_is_absent_from_a_step_is_as_if_it_were_not_there(ground: Ground, tasks: Tasks) -> None:
    head = SharedBottom(outputs=OUTPUTS, width=6)
    phase = Phase(sampler=PerTask(batch=9), learner=head, plan=everything(0.1), steps=1, batch=3, losses=(ByKind(),))
    weights = head.declare(WIDTH)
    episodes = phase.sampler.draw(tasks, key(0), 0, 3)
    found = []
    for some in (episodes[[0, 2]], episodes[[2, 0]]):
        leaves = {n: t.clone().requires_grad_() for n, t in weights.items()}
        found.append(direction(phase, answering(ground, phase, leaves, key(0)), leaves, some, key(0), origin=weights)[0])
    gradient = found[0]["head.out.weight"]
    assert gradient is not None and not gradient[3].any() and bool(gradient[[0, 1, 2, 4, 5]].any(1).all())
    assert all(torch.allclose(found[0][n], found[1][n], atol=1e-7) for n in weights)  # type: ignore[arg-type]


def test_a_method_is_laid_out_for_its_columns() -> None:
    method = read_method("mmoe(experts=3)")
    found = laid_out(method, [np.int64(3), 1], seed=5)
    assert found.learner == Mmoe(experts=3, outputs=(3, 1), seed=5) == found.phases[0].learner  # type: ignore[union-attr]
    assert found.phases[0].batch == 2 and laid_out(found, OUTPUTS, seed=5) == laid_out(method, OUTPUTS, seed=5)  # type: ignore[union-attr]
    plain = read_method("maml(steps=2)")
    assert laid_out(plain, OUTPUTS) == plain
    inside = "Phase(sampler=Pooled(), learner=SharedBottom(), plan=everything(0.1), steps=1, losses=(ByKind(),))"
    adapting = read_method(f"Method(learner=Adapt(phases=({inside},), then=SharedBottom()))")
    assert laid_out(adapting, OUTPUTS).heads == [SharedBottom(outputs=OUTPUTS)] * 2
