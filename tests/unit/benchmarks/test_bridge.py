"""`benchmarks/bridge.py` in float64: training against NumPy by hand and Jacobians of autograd, the figures against closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator

import bridge
import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.linear_model import Ridge
from torch import Tensor


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(bridge, "WIDTH", 16)
    yield
    torch.set_default_dtype(before)


def start(seed: int, depth: int) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """(points, targets, body, head) of the training tasks."""
    generator = torch.Generator().manual_seed(seed)
    x, y = bridge.drawn(bridge.TASKS, 2 * bridge.SHOTS, generator)
    return x, y, *bridge.started(depth, generator)


def network(weights: list[Tensor], head: Tensor, x: Tensor) -> Tensor:
    """Outputs [N] of points [N, INPUTS], written in full."""
    for w in weights:
        x = (2 / len(w)) ** 0.5 * (x @ w).clamp_min(0)
    return x @ head / len(head) ** 0.5


def test_points_lie_on_a_sphere_and_targets_depend_on_few_inputs() -> None:
    x, y = bridge.drawn(5, 300, torch.Generator().manual_seed(0), 2)
    np.testing.assert_allclose(x.norm(dim=-1), bridge.INPUTS**0.5)
    line = torch.atanh(y) * bridge.INPUTS**0.5
    for points, values in zip(x.numpy(), line.numpy(), strict=True):
        direction, residual, *_ = np.linalg.lstsq(points, values, rcond=None)
        assert residual.item() < 1e-15 * len(points)
        np.testing.assert_allclose(direction[2:], 0, atol=1e-8)
        assert np.abs(direction[:2]).min() > 1e-3


def test_layers_keep_the_mean_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "WIDTH", 4000)
    x, _, weights, _ = start(0, 2)
    features = bridge.body(weights, x[0])
    assert features.square().mean().item() == pytest.approx(1, abs=0.1)
    assert x[0].square().mean().item() == pytest.approx(1)


def test_heads_are_read_task_by_task() -> None:
    x, _, weights, head = start(1, 2)
    features = bridge.body(weights, x)
    one = torch.stack([network(weights, head, points) for points in x])
    torch.testing.assert_close(bridge.read(head, features), one)
    heads = torch.randn(bridge.TASKS, 16)
    each = torch.stack([network(weights, own, points) for own, points in zip(heads, x, strict=True)])
    torch.testing.assert_close(bridge.read(heads, features), each)


@pytest.mark.parametrize("steps", [1, 3])
def test_inner_steps_follow_the_gradient_of_half_the_squared_error(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(bridge, "STEPS", steps)
    x, y, weights, head = start(2, 1)
    for task, own in enumerate(bridge.adapted(head, bridge.body(weights, x), y, 0.3)):
        w = head.clone()
        for _ in range(steps):
            leaf = w.detach().requires_grad_()
            loss = 0.5 * (network(weights, leaf, x[task]) - y[task]).square().sum()
            w = w - 0.3 * torch.autograd.grad(loss, leaf)[0]
        torch.testing.assert_close(own, w)


def momentum(parameters: dict[str, Tensor], loss: object, speed: float, updates: int) -> dict[str, Tensor]:
    """v = .9 v + g, p = p - speed v, by `torch.func`."""
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for _ in range(updates):
        gradient = torch.func.grad(loss)(parameters)
        velocity = {name: 0.9 * velocity[name] + gradient[name] for name in parameters}
        parameters = {name: p - speed * velocity[name] for name, p in parameters.items()}
    return parameters


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("rate", [None, 0.0, 0.4])
def test_training_by_hand(monkeypatch: pytest.MonkeyPatch, depth: int, rate: float | None) -> None:
    """Task by task and point by point: a head a task (None), or one head with an inner step on the first half of a task's points."""
    monkeypatch.setattr(bridge, "UPDATES", 3)
    x, y, weights, head = start(4, depth)
    half = bridge.SHOTS

    def loss(now: dict[str, Tensor]) -> Tensor:
        body, total = [now[f"w{i}"] for i in range(depth)], torch.zeros(())
        for task in range(bridge.TASKS):
            own = now["head"][task] if rate is None else now["head"]
            if rate is not None:
                points = torch.stack([network(body, row, x[task, :half]) for row in torch.eye(16)])  # features / sqrt(W), by unit heads
                own = own - rate * points @ (points.T @ own - y[task, :half])
            total = total + 0.5 * (network(body, own, x[task]) - y[task]).square().mean() / bridge.TASKS
        return total

    given = {f"w{i}": w for i, w in enumerate(weights)} | {"head": head.expand(bridge.TASKS, 16).clone() if rate is None else head}
    expected = momentum(given, loss, 1 / (depth + 1), 3)
    body, own, last, _ = bridge.trained(4, depth, rate)
    for i, w in enumerate(body):
        torch.testing.assert_close(w.detach(), expected[f"w{i}"])
    torch.testing.assert_close(own.detach(), head if rate is None else expected["head"])
    assert last == pytest.approx(loss(momentum(given, loss, 1 / (depth + 1), 2)).item())


def test_a_small_step_moves_outputs_by_the_kernel_of_jacobians(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs on other points change by -speed J' J^T (f - y) / N, J the Jacobians by the body and, with each task, by its own head."""
    depth, speed = 2, 1e-5
    monkeypatch.setattr(bridge, "UPDATES", 1)
    monkeypatch.setattr(bridge, "SPEED", speed * (depth + 1))
    x, y, weights, head = start(5, depth)
    other = torch.randn(6, bridge.INPUTS)

    def jacobian(points: Tensor) -> Tensor:
        parts = torch.func.jacrev(lambda body: network(body, head, points))(weights)
        return torch.cat([part.flatten(1) for part in parts], 1)

    rows = x.flatten(0, 1)
    error = network(weights, head, rows) - y.flatten()
    expected = -speed * jacobian(other) @ jacobian(rows).T @ error / len(error)
    body, own, *_ = bridge.trained(5, depth, None)
    moved = network([w.detach() for w in body], own, other) - network(weights, head, other)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_the_distance_of_a_linear_network_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """One update from the same start moves the body in the same way, and without inner steps only ANIL's head for new tasks moves."""
    monkeypatch.setattr(torch, "relu", lambda z: z)
    monkeypatch.setattr(bridge, "UPDATES", 1)
    monkeypatch.setattr(bridge, "DEPTHS", (1,))
    monkeypatch.setattr(bridge, "RATES", (0.0,))
    [row] = bridge.distance(6)
    x, y, [w], head = (part if isinstance(part, list) else part.numpy() for part in start(6, 1))
    w = w.numpy()
    a, b = (2 / 8) ** 0.5, 16**-0.5  # of the layer and of the head
    rows, values = x.reshape(-1, 8), y.reshape(-1)
    error = (rows @ w @ head * a * b - values) / len(values)
    w_after = w - 0.5 * a * b * np.outer(rows.T @ error, head)
    head_after = head - 0.5 * a * b * w.T @ rows.T @ error
    new, _ = bridge.drawn(bridge.NEW, 2 * bridge.SHOTS, torch.Generator().manual_seed(1006))
    query = new.numpy()[:, bridge.SHOTS :].reshape(-1, 8)
    between = query @ w_after @ (head_after - head)
    moved = query @ (w_after - w) @ head
    assert row["distance"] == pytest.approx(np.linalg.norm(between) / np.linalg.norm(moved))
    assert row["loss_mtl"] == pytest.approx(row["loss_anil"]) == pytest.approx(0.5 * len(values) * (error**2).sum())
    assert (row["seed"], row["depth"], row["rate"]) == (6, 1, 0.0)


def test_the_distance_with_inner_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both adapt their heads on the first half of each new task, and answer the second half."""
    monkeypatch.setattr(bridge, "UPDATES", 2)
    monkeypatch.setattr(bridge, "DEPTHS", (1, 2))
    monkeypatch.setattr(bridge, "RATES", (0.2, 0.5))
    found = list(bridge.distance(7))
    assert [(row["depth"], row["rate"]) for row in found] == [(1, 0.2), (1, 0.5), (2, 0.2), (2, 0.5)]
    new, targets = bridge.drawn(bridge.NEW, 2 * bridge.SHOTS, torch.Generator().manual_seed(1007))
    half, row = bridge.SHOTS, found[3]
    _, _, body, head = start(7, 2)

    def answers(weights: list[Tensor], own: Tensor) -> Tensor:
        said = []
        for points, values in zip(new, targets, strict=True):
            features = torch.stack([network(weights, unit, points) for unit in torch.eye(16)], 1)
            fitted = own - 0.5 * features[:half].T @ (features[:half] @ own - values[:half])
            said.append(features[half:] @ fitted)
        return torch.stack(said).detach()

    ours, theirs = (answers(*bridge.trained(7, 2, rate)[:2]) for rate in (None, 0.5))
    assert row["distance"] == pytest.approx(((ours - theirs).norm() / (ours - answers(body, head)).norm()).item())


def test_the_error_on_new_tasks_is_that_of_ridge_regression() -> None:
    _, _, weights, _ = start(8, 2)
    x, y = bridge.drawn(bridge.NEW, 2 * bridge.SHOTS, torch.Generator().manual_seed(1008), bridge.SHARED)
    wrong = 0.0
    for points, values in zip(x, y, strict=True):
        features = torch.stack([network(weights, unit, points) for unit in torch.eye(16)], 1).numpy()
        ridge = Ridge(alpha=0.1, fit_intercept=False).fit(features[: bridge.SHOTS], values[: bridge.SHOTS])
        wrong += ((ridge.predict(features[bridge.SHOTS :]) - values[bridge.SHOTS :].numpy()) ** 2).sum()
    expected = math.sqrt(wrong) / y[:, bridge.SHOTS :].norm().item()
    assert bridge.new_error(weights, 8) == pytest.approx(expected, rel=1e-9)


def test_the_curve_looks_before_every_so_many_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "UPDATES", 7)
    monkeypatch.setattr(bridge, "EVERY", 3)
    found = list(bridge.curves(9))
    assert [(row["method"], row["update"]) for row in found] == [(m, n) for m in ("multi-task learning", "ANIL") for n in (0, 3, 6)]
    _, _, weights, _ = start(9, bridge.CURVE[0])
    assert found[0]["error"] == found[3]["error"] == pytest.approx(bridge.new_error(weights, 9))
    assert found[2]["error"] != found[5]["error"]


def test_cells_are_means_of_seeds_with_half_their_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "DEPTHS", (1, 4))
    monkeypatch.setattr(bridge, "RATES", (0.0, 0.5))
    random = np.random.default_rng(0)
    cells = {(depth, rate): random.random(3) for depth in (1, 4) for rate in (0.0, 0.5)}
    rows = [{"depth": d, "rate": r, "seed": s, "distance": float(values[s])} for (d, r), values in cells.items() for s in range(3)]
    lines = bridge.table(rows).splitlines()
    assert lines[0] == "| hidden layers | rate 0 | rate 0.5 |"
    for line, depth in zip(lines[2:], (1, 4), strict=True):
        each = [cells[depth, rate] for rate in (0.0, 0.5)]
        halves = [t.ppf(0.975, 2) * one.std(ddof=1) / 3**0.5 for one in each]
        assert line == f"| {depth} | " + " | ".join(f"{one.mean():.2f} ± {half:.2f}" for one, half in zip(each, halves, strict=True)) + " |"
