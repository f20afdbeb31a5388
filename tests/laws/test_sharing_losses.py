"""Losses that hold the weights of several tasks together, against their formulas and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses import Outcome, SoftSharing, TaskRelation
from fewtune.parts.losses.task_relation import task_covariance
from fewtune.tasks.episodes import Episodes

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def outcome_of(E: int = 2, **own: Tensor) -> Outcome:
    """Episodes that all look at the same weights, as in a source phase."""
    none, rows = torch.zeros(E, 0, dtype=torch.long), torch.zeros(E, 1, dtype=torch.long)
    episodes = Episodes(none, none, rows, rows, torch.zeros(E, 1, dtype=torch.long), torch.arange(E))
    held = {f"head.{n.replace('_', '.')}": t.expand(E, *t.shape) for n, t in own.items()}
    return Outcome(logits=torch.zeros(E, 1, 1, dtype=torch.float64), episodes=episodes, own=held)


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("squared", [False, True])
def test_soft_sharing_is_the_sum_over_pairs(squared: bool) -> None:
    weight, bias = weights(4, 3, 2), weights(4, 3, seed=1)
    found = SoftSharing(strength=0.3, squared=squared)(outcome_of(3, trunk_0_weight=weight, trunk_0_bias=bias, out_weight=weights(5, 3)))
    theta = [np.concatenate([weight[t].numpy().ravel(), bias[t].numpy().ravel()]) for t in range(4)]
    distances = [np.linalg.norm(theta[i] - theta[j]) for i in range(4) for j in range(i + 1, 4)]
    assert found.tolist() == pytest.approx([0.3 * sum(d**2 if squared else d for d in distances)] * 3, rel=1e-12)


@pytest.mark.parametrize("squared", [False, True])
def test_equal_networks_cost_nothing_and_stay(squared: bool) -> None:
    weight = weights(1, 3, 2).repeat(3, 1, 1).requires_grad_()
    cost = SoftSharing(strength=2.0, squared=squared)(outcome_of(trunk_0_weight=weight))
    (slope,) = torch.autograd.grad(cost.sum(), weight)
    assert cost.tolist() == pytest.approx([0.0, 0.0], abs=1e-25) and float(slope.abs().max()) < 1e-12


def test_the_norm_makes_networks_equal_and_its_square_only_similar() -> None:
    """Two means are estimated; above a strength they are the mean of all: in between lies the fused lasso, by its closed form."""
    wanted = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def cost(at: Tensor, strength: float, squared: bool) -> Tensor:
        penalty = SoftSharing(strength=strength, squared=squared)(outcome_of(1, trunk_0_weight=at.reshape(2, 1, 1)))
        return (at - wanted).square().sum() + penalty.sum()

    def slope(at: list[float], strength: float, squared: bool) -> float:
        theta = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(cost(theta, strength, squared), theta)[0].abs().max())

    half, close = 1 / (1 + 2 * 0.5), 1 / (1 + 2 * 50.0)  # half the distance that least (theta - wanted)^2 + strength d^2 has
    for at, strength, squared in (
        ([1.25, 2.75], 0.5, False),
        ([1.0, 3.0], 0.0, False),
        ([2 - half, 2 + half], 0.5, True),
        ([2 - close, 2 + close], 50.0, True),
    ):
        assert slope(at, strength, squared) == pytest.approx(0, abs=1e-9)  # convex: this is the minimum
        assert slope([at[0] + 0.01, at[1]], strength, squared) > 1e-3
    equal = torch.tensor([2.0, 2.0], dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    for size in (1e-3, 0.1, 1.0):
        beside = [equal + size * torch.randn(2, dtype=torch.float64, generator=random) for _ in range(20)]
        assert all(cost(one, 5.0, False) > cost(equal, 5.0, False) for one in beside)  # no smooth minimum: they are equal


def written_out(weight: np.ndarray, rounds: int, epsilon: float) -> list[np.ndarray]:
    """Flip-flop with Kronecker products of whole matrices, [tasks, rows, columns]."""
    T, a, b = weight.shape
    S = [np.eye(T), np.eye(a), np.eye(b)]

    def one(mode: int) -> np.ndarray:
        unfolded = np.moveaxis(weight, mode, 0).reshape(weight.shape[mode], -1)
        first, second = (S[m] for m in range(3) if m != mode)
        return unfolded @ np.linalg.inv(np.kron(first, second)) @ unfolded.T / unfolded.shape[1] + epsilon * np.eye(len(unfolded))

    for _ in range(rounds):
        for mode in range(3):
            S[mode] = one(mode)
            if mode:
                S[mode] = S[mode] / np.trace(S[mode]) * len(S[mode])
    S[0] = one(0)
    return S


@pytest.mark.parametrize(("modes", "rounds"), [("tasks", 0), ("all", 1), ("all", 3)])
def test_task_relation_is_the_flip_flop_written_out(modes: str, rounds: int) -> None:
    weight = weights(3, 4, 2)
    S = written_out(weight.numpy(), rounds, 1e-2)
    loss = TaskRelation(strength=0.7, modes=modes, flips=max(1, rounds), epsilon=1e-2)  # type: ignore[arg-type]
    leaf = weight.clone().requires_grad_()
    cost = loss(outcome_of(tower_weight=leaf))
    assert cost.tolist() == pytest.approx([0.35 * np.linalg.slogdet(S[0])[1]] * 2, rel=1e-10)
    (slope,) = torch.autograd.grad(cost[0], leaf)
    flat = weight.numpy().reshape(3, -1)
    expected = 0.7 * np.linalg.inv(S[0]) @ flat @ np.linalg.inv(np.kron(S[1], S[2])) / 8  # of the quadratic form, S3 being a constant
    np.testing.assert_allclose(slope.reshape(3, -1).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_relation_of_tasks_is_found() -> None:
    """Tasks 0 and 1 are nearly the same, task 2 is the opposite of task 0, task 3 has nothing to do with them."""
    one = weights(1, 20, 10)
    rows = torch.cat([one, one + 0.1 * weights(1, 20, 10, seed=1), -one, weights(1, 20, 10, seed=2)])[None]
    covariance = task_covariance(rows, epsilon=1e-6)[0]
    size = covariance.diagonal().sqrt()
    correlation = covariance / size[:, None] / size
    assert correlation[0, 1] > 0.98 and correlation[0, 2] == pytest.approx(-1, abs=1e-3) and abs(float(correlation[0, 3])) < 0.15


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(InputError, match=r"SoftSharing is a loss on weights of several tasks called 'head.trunk.\*'.*Independent\(\)"):
        SoftSharing()(outcome_of(out_weight=weights(2, 3)))
    with pytest.raises(InputError, match="TaskRelation is a loss on weights of several tasks"):
        TaskRelation()(outcome_of(trunk_0_weight=weights(2, 3)))
    for wrong in (lambda: SoftSharing(strength=-1.0), lambda: TaskRelation(strength=float("inf"))):
        with pytest.raises(InputError, match="the strength must be a number of at least 0"):
            wrong()
    for wrong in (lambda: TaskRelation(flips=0), lambda: TaskRelation(epsilon=0.0)):
        with pytest.raises(InputError, match="at least one flip and an epsilon above 0"):
            wrong()
    with pytest.raises(InputError, match="unknown modes 'both'"):
        TaskRelation(modes="both")  # type: ignore[arg-type]
