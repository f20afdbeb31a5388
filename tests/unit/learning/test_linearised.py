"""Grad-TAG: derivatives against autograd, refitting against closed forms and scikit-learn, affinities against exact retraining."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.laid_out import laid_out
from fewtune.learning.linearised import directions_of, help_of, linearised_affinity, refitted, slopes_of, some_subsets
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.recipes.sharing import shared_bottom
from fewtune.tasks.label_columns import label_tasks
from tests.unit.learning.grounds import vectors_with


def outputs(weights: Mapping[str, Tensor]) -> Tensor:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    return torch.tanh(x @ weights["a"]) @ weights["b"]


def test_slopes_are_the_jacobian() -> None:
    weights = {"a": torch.randn(3, 5, dtype=torch.float64), "b": torch.randn(5, 2, dtype=torch.float64)}
    basis = directions_of(weights, 100, key(0))
    assert len(basis) == 25
    base, slopes = slopes_of(outputs, weights, basis)
    a, b = torch.autograd.functional.jacobian(lambda a, b: outputs({"a": a, "b": b}), (weights["a"], weights["b"]))
    torch.testing.assert_close(base, outputs(weights))
    torch.testing.assert_close(slopes, torch.cat([a.flatten(2), b.flatten(2)], dim=-1))


def test_random_directions_keep_lengths_on_average() -> None:
    basis = directions_of({"a": torch.zeros(300), "b": torch.zeros(20, 5)}, 50, key(1))
    rows = torch.stack([torch.cat([one["a"], one["b"].flatten()]) for one in basis])
    v = torch.randn(400, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ratio = (rows @ v).square().sum(0) / v.square().sum(0)
    assert abs(float(ratio.mean()) - 1) < 0.1


def test_refitting_is_ridge_regression_and_logistic_regression() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 6)), random.normal(size=40)
    slopes, truth = torch.from_numpy(x), torch.from_numpy(y)
    found = refitted(lambda o: (o - truth).square().mean(), torch.zeros(40, dtype=torch.float64), slopes, 0.3)
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(2 * x.T @ x / 40 + 0.3 * np.eye(6), 2 * x.T @ y / 40), rtol=1e-6)
    hot = torch.from_numpy((y > 0).astype(np.float64))
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    logistic = refitted(lambda o: loss(o, hot), torch.zeros(40, dtype=torch.float64), slopes, 0.3)
    theirs = LogisticRegression(C=1 / (0.3 * 40), fit_intercept=False, tol=1e-10).fit(x, y > 0)
    np.testing.assert_allclose(logistic.numpy(), theirs.coef_[0], atol=1e-5)


def test_subsets_are_all_or_distinct_draws() -> None:
    every = some_subsets(5, 2, 10, key(0))
    assert {tuple(np.flatnonzero(one)) for one in every} == set(combinations(range(5), 2))
    some = some_subsets(9, 3, 20, key(0))
    assert some.shape == (20, 9) and (some.sum(1) == 3).all() and len({one.tobytes() for one in some}) == 20


def test_help_by_hand() -> None:
    nan = np.nan
    found = help_of(np.array([[0.5, 1.0, nan], [0.9, nan, 2.0], [0.7, 3.0, nan]]), np.array([1.0, 2.0, 4.0]))
    assert found.mean[1, 0] == pytest.approx((0.5 + 0.3) / 2) and found.mean[0, 1] == pytest.approx((0.5 - 0.5) / 2)
    assert found.mean[2, 0] == pytest.approx(0.1) and np.isnan(found.low[2, 0]) and np.isnan(found.mean[1, 2])
    half = 12.706204736 * np.std([0.5, 0.3], ddof=1) / np.sqrt(2)
    assert found.high[1, 0] - found.mean[1, 0] == pytest.approx(half)


def planted(rows: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Two tasks on one direction of 8 inputs, one on the opposite of it; noisy, few rows."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 8))
    w = np.random.default_rng(5).normal(size=8)
    noise = 2 * random.normal(size=(rows, 3))
    return x, {"a": x @ w + noise[:, 0], "b": x @ w + noise[:, 1], "c": -(x @ w) + noise[:, 2]}


def test_a_linear_shared_model_is_retrained_exactly() -> None:
    """One weight vector for all tasks: the affinity is that of ridge regressions on the rows of each subset, by hand."""
    x, columns = planted(60, 0)
    names = tuple(columns)
    y = np.stack([columns[n] for n in names])
    fit, judged = np.arange(20), np.arange(20, 60)
    tensor = torch.from_numpy(x)
    base, slopes = slopes_of(
        lambda w: tensor @ w["w"], {"w": torch.zeros(8, dtype=torch.float64)}, directions_of({"w": torch.zeros(8)}, 64, key(0))
    )
    torch.testing.assert_close(slopes, tensor)
    penalty = 0.1

    def by_hand(tasks: tuple[int, ...]) -> np.ndarray:
        gram = 2 * x[fit].T @ x[fit] / len(fit) + penalty * np.eye(8)
        w = np.linalg.solve(gram, 2 * x[fit].T @ y[list(tasks)][:, fit].mean(0) / len(fit))
        return ((x[judged] @ w - y[:, judged]) ** 2).mean(1)

    for tasks in [(0,), (0, 1), (0, 2), (1, 2)]:
        truth = torch.from_numpy(y[list(tasks)][:, fit])
        moved = refitted(lambda o, truth=truth: (o[fit] - truth).square().mean(), base, slopes, penalty)
        mine = ((tensor[judged] @ moved - torch.from_numpy(y[:, judged])) ** 2).mean(1)
        np.testing.assert_allclose(mine.numpy(), by_hand(tasks), rtol=1e-6)
    losses = np.full((3, 3), np.nan)
    for row, tasks in enumerate(combinations(range(3), 2)):
        losses[row, list(tasks)] = by_hand(tasks)[list(tasks)]
    found = help_of(losses, np.array([by_hand((t,))[t] for t in range(3)]))
    assert found.mean[0, 1] > 0 > found.mean[0, 2]


def test_a_network_finds_planted_tasks() -> None:
    """Four tasks follow one direction of 20 inputs and four another one; 60 noisy rows, all coordinates of the network."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 20))
    u, v = random.normal(size=(2, 20)) / 20**0.5
    values = np.stack([np.tanh(2 * x @ u)] * 4 + [np.tanh(2 * x @ v)] * 4, 1) + 0.5 * random.normal(size=(400, 8))
    ground, tasks = vectors_with(x, {f"t{t}": values[:, t] for t in range(8)})
    fit, judged = (label_tasks(ground.space, tasks.names, rows) for rows in (np.arange(60), np.arange(60, 400)))
    (phase,) = laid_out(shared_bottom(width=8, batch=100, steps=10, lr=1e-2), (1,) * 8, 0).phases
    assert isinstance(phase, Phase)
    weights = train(ground, (phase,), fit, key(0)).weights
    found = linearised_affinity(ground, phase, weights, fit, judged, key(0), directions=400)
    assert found.names == tasks.names and found.subsets.shape == (60, 8) and (found.subsets.sum(1) == 4).all()
    assert (np.isnan(found.losses) == ~found.subsets).all()
    same = np.kron(np.eye(2), np.ones((4, 4))) > 0
    for j in range(8):
        mine = found.help.mean[same[j] & (np.arange(8) != j), j]
        assert mine.min() > found.help.mean[~same[j], j].max()
    again = linearised_affinity(ground, phase, weights, fit, judged, key(0), directions=400)
    np.testing.assert_array_equal(found.losses, again.losses)
    with pytest.raises(InputError, match="two or more tasks"):
        linearised_affinity(ground, phase, weights, fit.take([0]), judged.take([0]), key(0))
