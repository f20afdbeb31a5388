"""Laws of implicit gradients: the solver against numpy's, the meta-gradient against differences through a solved inner problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.data.views.views import Augment
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.implicit import check_implicit, conjugate_gradients
from fewtune.learning.phase import Adapt, Implicit, phases_of
from fewtune.learning.train import train
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import only
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.task import Tasks
from tests.laws.grounds import differences, gradient, maml, near, outer_phase, query_loss

EXACT = Implicit(steps=200, tolerance=1e-13)


def anchored(strength: float, **given: Any) -> Adapt:
    return maml(**{"losses": (CrossEntropy(), Anchor(strength=strength)), "through": EXACT, **given})


@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_conjugate_gradients_solve_positive_definite_systems(size: int, spread: float) -> None:
    random = np.random.default_rng(size)
    Q, _ = np.linalg.qr(random.normal(size=(size, size)))
    H = torch.from_numpy((Q * np.geomspace(1, spread, size)) @ Q.T)
    g = torch.from_numpy(random.normal(size=size))
    cut = size // 3  # two tensors of any shape are one vector

    def product(v: Any) -> list[Tensor]:
        moved = H @ torch.cat([v[0].reshape(-1), v[1]])
        return [moved[:cut].view(-1, 1), moved[cut:]]

    v, residual = conjugate_gradients(product, [g[:cut].view(-1, 1), g[cut:]], Implicit(steps=20 * size, tolerance=1e-12))
    found = torch.cat([v[0].reshape(-1), v[1]])
    np.testing.assert_allclose(found, np.linalg.solve(H.numpy(), g.numpy()), rtol=1e-8, atol=1e-10)
    assert residual == pytest.approx(float((H @ found - g).norm() / g.norm()), abs=1e-13)
    assert residual < 1e-11


def test_a_solver_cut_short_says_what_is_left() -> None:
    random = np.random.default_rng(0)
    A = random.normal(size=(30, 30))
    H, g = torch.from_numpy(A @ A.T + 0.1 * np.eye(30)), torch.from_numpy(random.normal(size=30))
    last = np.inf
    for steps in (1, 3, 10, 200):
        (v,), residual = conjugate_gradients(lambda v: [H @ v[0]], [g], Implicit(steps=steps, tolerance=0.0))
        assert residual == pytest.approx(float((H @ v - g).norm() / g.norm()), rel=1e-9, abs=1e-12)
        error = float((v - torch.linalg.solve(H, g)) @ H @ (v - torch.linalg.solve(H, g)))  # what each step makes smaller
        assert error < last
        last = error
    assert last < 1e-10


def test_where_the_curvature_is_not_positive_the_search_ends() -> None:
    H, g = torch.diag(torch.tensor([-1.0, -2.0], dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    (v,), residual = conjugate_gradients(lambda v: [H @ v[0]], [g], Implicit())
    assert torch.equal(v, torch.zeros_like(v)) and residual == 1.0
    (v,), residual = conjugate_gradients(lambda v: [H @ v[0]], [0 * g], Implicit())
    assert torch.equal(v, torch.zeros_like(v)) and residual == 0.0


def test_the_meta_gradient_is_the_difference_through_a_solved_inner_problem(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes
) -> None:
    learner = anchored(4.0, rate=0.22, steps=20)  # each step leaves an eighth of the way
    episodes = episodes[:1]
    found = gradient(ground, outer_phase(learner), weights, episodes)

    def loss(nudged: Mapping[str, Tensor]) -> float:
        return query_loss(ground, learner, nudged, episodes)

    for name in weights:
        near(found[name], differences(loss, weights, name, count=1), rel=1e-5, abs=1e-8)


def test_shared_weights_that_the_inner_loop_does_not_move_get_the_mixed_term(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes
) -> None:
    learner = anchored(4.0, rate=0.22, steps=20, plan="head.*")
    episodes = episodes[:1]
    found = gradient(ground, outer_phase(learner), weights, episodes)

    def loss(nudged: Mapping[str, Tensor]) -> float:
        return query_loss(ground, learner, nudged, episodes)

    for name in weights:
        near(found[name], differences(loss, weights, name, count=1), rel=1e-5, abs=1e-8)
    path = gradient(ground, outer_phase(anchored(4.0, rate=0.22, steps=1, plan="head.*", through="first_order")), weights, episodes)
    assert not torch.allclose(found["0.weight"], path["0.weight"], rtol=1e-2)


def test_an_anchor_without_end_leaves_the_gradient_at_the_start(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> None:
    plain = gradient(ground, outer_phase(Linear(start="shared")), weights, episodes)
    away = []
    for strength in (1e2, 1e4, 1e6):
        learner = anchored(strength, rate=1 / strength, steps=10)  # below 2 / (strength + |H|)
        found = gradient(ground, outer_phase(learner), weights, episodes)
        away.append(max(float((found[n] - plain[n]).abs().max()) for n in weights))
    assert away[0] > 50 * away[1] > 2500 * away[2] and away[2] < 1e-5


def test_damping_without_end_is_first_order(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> None:
    """(strength + damping) (H + damping)^-1 g goes to g, whatever H is; without damping it is not g."""
    plain = gradient(ground, outer_phase(anchored(0.5, steps=3, through="first_order")), weights, episodes)
    away = []
    for damping in (0.0, 1e3, 1e6):
        through = Implicit(steps=200, tolerance=1e-13, damping=damping)
        found = gradient(ground, outer_phase(anchored(0.5, steps=3, through=through)), weights, episodes)
        away.append(max(float((found[n] - plain[n]).abs().max()) for n in weights))
    assert away[0] > 1e-2 and away[1] < 1e-2 and away[2] < 1e-5


def test_the_answer_is_that_of_the_inner_steps(ground: Ground, weights: dict[str, Tensor], episodes: Episodes) -> None:
    """Only gradients cross another way."""
    answers = [
        respond(ground, anchored(2.0, steps=7, through=through), weights, episodes, key(0)).logits for through in (EXACT, "first_order")
    ]
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"losses": (CrossEntropy(),)}, "its losses have no Anchor: add Anchor"),
        ({"learner": Linear(start="zeros")}, "'head.weight' has no shared start"),
        ({"sampler": Pooled(batch=2)}, r"expected sampler=Pooled\(\)"),
        ({"optimizer": SGD(weight_decay=0.1)}, "without weight_decay"),
    ],
)
def test_what_is_no_function_of_the_shared_weights_is_refused(
    ground: Ground, weights: dict[str, Tensor], episodes: Episodes, given: dict[str, Any], sentence: str
) -> None:
    start = {n: t for n, t in weights.items() if not n.startswith("head.")} if "learner" in given else weights
    learner = anchored(1.0, steps=2, **given)
    with pytest.raises(InputError, match=sentence):
        gradient(ground, outer_phase(learner), start, episodes)


def test_views_that_change_from_step_to_step_are_refused() -> None:
    (phase,) = phases_of(anchored(1.0, steps=2, query_view=Augment()).phases)
    with pytest.raises(InputError, match="expected its rows as they are"):
        check_implicit(phase, ("head.weight",), {"head.weight": torch.zeros(1)})


def test_several_inner_problems_are_refused() -> None:
    phase = maml(steps=1).phases[0]
    with pytest.raises(InputError, match="exactly one phase"):
        Adapt(phases=(phase, phase), then=Linear(), through=Implicit())


def test_the_residual_is_on_the_curve(ground: Ground, tasks: Tasks) -> None:
    phase = outer_phase(anchored(2.0, rate=0.1, steps=5, through=Implicit(steps=1)), steps=3, batch=2, plan=only("*", 0.01))
    short = train(ground, (phase,), tasks, key(0)).curve
    assert len(short) == 3 and all(0 < row["residual"] < 1 for row in short)
    whole = outer_phase(anchored(2.0, rate=0.1, steps=5), steps=1, batch=2, plan=only("*", 0.01))
    assert train(ground, (whole,), tasks, key(0)).curve[0]["residual"] < 1e-6  # the head is float32 here
    assert "residual" not in train(ground, (outer_phase(maml(steps=1), plan=only("*", 0.01)),), tasks, key(0)).curve[0]
