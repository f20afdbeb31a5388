"""The look ahead against a calculation by hand, and what must hold of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.learning.lookahead import Weights, look_ahead

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([[1.0, 3.0], [0.0, 2.0], [2.0, -1.0]], dtype=torch.float64)


def losses(weights: Weights) -> Tensor:
    """Two linear tasks: y_t = own_t (x . shared), mean squared errors."""
    return ((X @ weights["shared"])[:, None] * weights["own"] - Y).square().mean(0)


WEIGHTS = {"shared": torch.tensor([0.3, -0.2], dtype=torch.float64), "own": torch.tensor([1.5, -0.5], dtype=torch.float64)}


def test_two_linear_tasks_by_hand() -> None:
    """Gradients 2/3 sum (a (x.u) - y) a x, written out in NumPy."""
    x, y, u, a, rate = X.numpy(), Y.numpy(), WEIGHTS["shared"].numpy(), WEIGHTS["own"].numpy(), 0.05

    def loss(shared: np.ndarray, task: int) -> float:
        return float(np.mean((a[task] * (x @ shared) - y[:, task]) ** 2))

    gradient = [2 / 3 * ((a[t] * (x @ u) - y[:, t]) * a[t]) @ x for t in range(2)]
    found = look_ahead(losses, WEIGHTS, ("shared", "own"), rate)
    for i in range(2):
        for j in range(2):
            assert float(found.help[i, j]) == pytest.approx(1 - loss(u - rate * gradient[i], j) / loss(u, j), rel=1e-12)
    cosine = gradient[0] @ gradient[1] / (np.linalg.norm(gradient[0]) * np.linalg.norm(gradient[1]))
    assert float(found.cosine[0, 1]) == pytest.approx(cosine, rel=1e-12)
    assert found.cosine.diagonal().tolist() == pytest.approx([1.0, 1.0])
    assert found.losses.tolist() == pytest.approx([loss(u, 0), loss(u, 1)])
    assert found.shared == ("shared",)


def test_a_small_step_helps_by_the_product_of_gradients() -> None:
    shared = WEIGHTS["shared"].clone().requires_grad_()
    each = [torch.autograd.grad(losses({**WEIGHTS, "shared": shared})[t], shared)[0] for t in range(2)]
    found = look_ahead(losses, WEIGHTS, ("shared", "own"), 1e-6)
    for i in range(2):
        for j in range(2):
            assert float(found.help[i, j]) == pytest.approx(1e-6 * float(each[i] @ each[j]) / float(found.losses[j]), rel=1e-4)


def test_tasks_that_share_nothing_do_nothing_to_each_other() -> None:
    apart = {"own": torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)}
    found = look_ahead(lambda w: (X @ w["own"].T - Y).square().mean(0), apart, ("own",), 0.1)
    assert found.shared == () and bool((found.help == 0).all()) and bool(found.cosine.isnan().all())


def test_equal_and_opposite_tasks() -> None:
    """Without weights of their own, equal tasks help each other as much as themselves, and opposite ones harm as much."""

    def twice(weights: Weights) -> Tensor:
        said = X @ weights["shared"]
        return torch.stack([(said - Y[:, 0]).square().mean(), (said - Y[:, 0]).square().mean(), (said + 9 * Y[:, 0]).square().mean()])

    found = look_ahead(twice, WEIGHTS, ("shared",), 0.01)
    assert float(found.help[0, 1]) == float(found.help[1, 1]) > 0
    assert float(found.cosine[0, 1]) == pytest.approx(1.0)
    assert float(found.cosine[0, 2]) < -0.9 and float(found.help[0, 2]) < 0 and float(found.help[2, 0]) < 0


def test_nothing_is_changed_and_frozen_names_do_not_move() -> None:
    before = {n: t.clone() for n, t in WEIGHTS.items()}
    found = look_ahead(losses, WEIGHTS, ("own",), 0.1)
    assert all(torch.equal(before[n], t) for n, t in WEIGHTS.items())
    assert found.shared == ()
    with torch.no_grad():  # as where validation calls it
        assert torch.equal(look_ahead(losses, WEIGHTS, ("shared",), 0.1).help, look_ahead(losses, WEIGHTS, ("shared", "own"), 0.1).help)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        look_ahead(losses, WEIGHTS, ("shared",), rate)
