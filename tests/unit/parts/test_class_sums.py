"""Heads that are fitted from sums over blocks of rows, beside the same heads on one-hot labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as ScikitRidge

from fewtune.parts.heads import Centroid, Gaussian, Head, Ridge, class_sums, leave_one_out, ridge
from fewtune.parts.heads.head import answer
from fewtune.tasks.episodes import Episodes

HEADS: tuple[Head, ...] = (
    Centroid(),
    Centroid(normalize_first=False),
    Centroid(metric="euclidean"),
    Ridge(penalty=0.3, scale=2.0),
    Ridge(penalty=0.3, intercept=True),
    Ridge(penalty=2.0, normalize=False, intercept=True),
    Ridge(penalty="loo"),
    Ridge(penalty="loo", intercept=True),
    Ridge(penalty="loo", normalize=False, intercept=True),
    Gaussian(),
)


def ragged(rows: int = 90, ways: int = 6, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, Episodes]:
    """Two episodes; the second has padded rows, one class without a row and one with a single row."""
    random = np.random.default_rng(0)
    label = torch.from_numpy(np.stack([random.integers(ways, size=rows), random.integers(ways - 2, size=rows)]))
    label[1, 3], label[1, 70:] = ways - 2, -1
    rows_of = torch.arange(rows).expand(2, rows).masked_fill(label < 0, -1)
    support = torch.from_numpy(random.normal(size=(2, rows, width)).astype(np.float32)) + label.clamp_min(0)[..., None] / 3
    support = support.masked_fill(label[..., None] < 0, 0.0)
    query = torch.from_numpy(random.normal(size=(2, 5, width)).astype(np.float32))
    none = torch.zeros(2, 5, dtype=torch.int64)
    return support, query, Episodes(rows_of, label, none, none, torch.arange(ways).expand(2, ways), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("head", HEADS, ids=repr)
@pytest.mark.parametrize("block", [7, 1 << 13])
def test_heads_from_sums_answer_as_those_from_one_hot_labels(head: Head, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    support, query, episodes = ragged()
    plain = answer(head, support, query, episodes)
    monkeypatch.setattr(class_sums, "MANY", 89)
    monkeypatch.setattr(class_sums, "BLOCK", block)
    assert class_sums.many(episodes)
    torch.testing.assert_close(answer(head, support, query, episodes), plain, rtol=2e-5, atol=2e-5)


def test_sums_are_those_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    support, _, episodes = ragged()
    monkeypatch.setattr(class_sums, "BLOCK", 4)
    found = class_sums.class_sums(support, episodes, normalize=False)
    x, y = support[1].double().numpy(), episodes.support_label[1].numpy()
    for k in range(6):
        np.testing.assert_allclose(found.total[1, k], x[y == k].sum(0), atol=1e-12)
        assert found.count[1, k] == (y == k).sum()
    np.testing.assert_allclose(found.gram[1], x[y >= 0].T @ x[y >= 0], atol=1e-10)
    assert (found.means[1, 5] == 0).all()  # a class without rows


def test_ridge_from_sums_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    support, query, episodes = ragged()
    monkeypatch.setattr(class_sums, "MANY", 1)
    one = episodes[:1]
    found = answer(Ridge(penalty=0.7, normalize=False, intercept=True), support[:1].double(), query[:1].double(), one)
    y = np.eye(6)[one.support_label[0].numpy()]
    wanted = ScikitRidge(alpha=0.7).fit(support[0].double().numpy(), y).predict(query[0].double().numpy())
    np.testing.assert_allclose(found[0], wanted, atol=1e-9)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_penalty_of_all_rows_is_the_one_that_leaving_each_out_chooses(intercept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By scikit-learn, fitted anew without each row; with every penalty of the grid that way, and a noise at which they differ."""
    monkeypatch.setattr(class_sums, "MANY", 1)
    random = np.random.default_rng(3)
    x, y = random.normal(size=(24, 5)) * 0.4, np.arange(24) % 3
    x[np.arange(24), y] += 0.5
    unit = float((x**2).sum(1).mean())
    targets = np.eye(3)[y]
    errors = []
    for penalty in leave_one_out.GRID:
        model = ScikitRidge(alpha=penalty * unit, fit_intercept=intercept)
        left = [model.fit(np.delete(x, i, 0), np.delete(targets, i, 0)).predict(x[i : i + 1])[0] - targets[i] for i in range(24)]
        errors.append(float((np.array(left) ** 2).sum()))
    best = leave_one_out.GRID[int(np.argmin(errors))]
    assert leave_one_out.GRID[0] < best < leave_one_out.GRID[-1]
    label, rows = torch.from_numpy(y)[None], torch.arange(24)[None]
    none = rows[:, :0]
    episode = Episodes(rows, label, none, none, torch.arange(3)[None], torch.zeros(1, dtype=torch.int64))
    head = Ridge(penalty="loo", normalize=False, intercept=intercept)
    found = head.fit(torch.from_numpy(x)[None], episode, None, head.declare(5))["weight"][0]
    wanted = ScikitRidge(alpha=best * unit, fit_intercept=intercept).fit(x, targets).coef_
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_some_of_very_many_rows_choose_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    support, query, episodes = ragged()
    monkeypatch.setattr(class_sums, "MANY", 1)
    monkeypatch.setattr(ridge, "SOME", 30)
    asked: list[int] = []
    plain = leave_one_out.chosen_from_sums
    monkeypatch.setattr(ridge, "chosen_from_sums", lambda *given: asked.append(given[3].shape[1]) or plain(*given))
    assert answer(Ridge(penalty="loo"), support, query, episodes).isfinite().all()
    assert asked == [30]


def test_one_hot_labels_are_made_up_to_a_limit() -> None:
    label = torch.zeros(1, (1 << 24) // 1000, dtype=torch.int64)
    none = label[:, :0]
    few = Episodes(label, label, none, none, torch.arange(1000)[None], torch.zeros(1, dtype=torch.int64))
    more = Episodes(label, label, none, none, torch.arange(1001)[None], torch.zeros(1, dtype=torch.int64))
    assert not class_sums.many(few)
    assert class_sums.many(more)


def test_the_gaussian_is_the_same_over_rows_and_over_features() -> None:
    """With as many rows as features it is solved over rows; the same rows twice are solved over features."""
    support, query, episodes = ragged(rows=8, ways=3, width=8)
    one, wide = episodes[:1], support[:1].double()
    label = one.support_label
    few, many = (torch.cat([t] * n, dim=1) for t, n in ((wide, 1), (wide, 2)))
    twice = Episodes(torch.arange(16)[None], torch.cat([label, label], 1), one.query, one.query_label, one.classes, one.task)
    x = torch.nn.functional.normalize(many[0], dim=-1)
    y = twice.support_label[0]
    means = torch.stack([x[y == k].mean(0) if (y == k).any() else torch.zeros(8).double() for k in range(3)])
    rest = x - means[y]
    freedom = 16 - len(y.unique())
    within = (rest.T @ rest + rest.square().sum() / freedom * torch.eye(8).double()) / (freedom + 8)
    weight = 0.02 * torch.linalg.solve(within, means.T).T
    q = torch.nn.functional.normalize(query[0].double(), dim=-1)
    wanted = q @ weight.T - (weight * means).sum(-1) / 2
    torch.testing.assert_close(answer(Gaussian(), many, query[:1].double(), twice)[0], wanted, rtol=1e-9, atol=1e-9)
    assert answer(Gaussian(), few, query[:1].double(), one).isfinite().all()
