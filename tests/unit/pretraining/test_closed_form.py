"""Projections in closed form against scikit-learn and against their definition; accuracy among several ways against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from fewtune.lengths import unit
from fewtune.pretraining.closed_form import GRID, USUAL, Moments, Projections, Rows, best_scale, chosen_strengths
from fewtune.statistics.several_ways import class_means, several_ways_accuracy


def rows(seed: int, texts: int = 12, count: int = 60, width: int = 7, words: int = 5) -> Rows:
    """Images whose features are a linear function of their texts, and noise."""
    g = torch.Generator().manual_seed(seed)
    vectors = unit(torch.randn(texts, words, generator=g, dtype=torch.float64))
    truth = torch.randn(words, width, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    own = torch.arange(count) % texts
    images = vectors[own] @ truth + 0.3 * torch.randn(count, width, generator=g, dtype=torch.float64) + 1.0
    return Rows(unit(images), vectors, own)


def test_several_ways_by_enumeration() -> None:
    rng = np.random.default_rng(0)
    scores, own = rng.integers(0, 4, (9, 6)).astype(float), rng.integers(0, 6, 9)  # with ties, which count as wrong
    for ways in (2, 3, 6):
        found = several_ways_accuracy(scores, own, ways)
        for row in range(9):
            others = [c for c in range(6) if c != own[row]]
            chosen = list(itertools.combinations(others, ways - 1))
            right = [all(scores[row, own[row]] > scores[row, c] for c in some) for some in chosen]
            assert found[row] == pytest.approx(np.mean(right))
    np.testing.assert_allclose(class_means(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 2]), 3), [0.5, np.nan, 1.0])


def test_without_a_penalty_on_images_it_is_ridge_regression_from_texts_to_whitened_images() -> None:
    """As a -> infinity the map is, up to one factor, ridge regression from texts to class means."""
    data = rows(0)
    made = Moments(data).projections(1e9, 10.0)
    means = torch.stack([data.images[data.own == c].mean(0) for c in range(12)])
    covariance = np.cov(data.texts.numpy().T, bias=True)
    penalty = 10.0 * np.linalg.eigvalsh(covariance).mean() * 12
    ridge = Ridge(alpha=penalty).fit(data.texts.numpy(), means.numpy())
    weight = made.text[0].numpy()
    factor = (weight * ridge.coef_).sum() / (ridge.coef_**2).sum()
    np.testing.assert_allclose(weight, factor * ridge.coef_, atol=1e-6 * np.abs(weight).max())
    np.testing.assert_allclose(made.text[1].numpy(), -weight @ data.texts.mean(0).numpy(), atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (10.0, 1000.0)])
def test_the_map_is_the_definition(a: float, b: float) -> None:
    data = rows(1)
    means = torch.stack([data.images[data.own == c].mean(0) for c in range(12)])
    f, t = data.images - means.mean(0), data.texts - data.texts.mean(0)
    sx, sz, cross = f.T @ f / len(f), t.T @ t / 12, t.T @ (means - means.mean(0)) / 12
    of_images, of_texts = (torch.linalg.eigvalsh(s).mean() for s in (sx, sz))
    expected = torch.linalg.inv(sz + b * of_texts * torch.eye(5)) @ cross @ torch.linalg.inv(sx + a * of_images * torch.eye(7))
    made = Moments(data).projections(a, b)
    weight = made.text[0].T
    torch.testing.assert_close(weight / weight.norm(), expected / expected.norm())
    torch.testing.assert_close(made.image[0] / made.image[0][0, 0], torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close((data.texts @ made.text[0].T + made.text[1]).norm(dim=1).mean(), torch.tensor(1.0, dtype=torch.float64))


def test_a_text_counts_once_however_many_rows_it_has() -> None:
    data = rows(2)
    more = torch.cat([torch.arange(60), *([torch.where(data.own == 3)[0]] * 4)])
    again = Rows(data.images[more], data.texts, data.own[more])
    for one, other in zip(Moments(data).projections(3, 3).text, Moments(again).projections(3, 3).text, strict=True):
        torch.testing.assert_close(one, other)


def test_it_finds_new_texts_and_chooses_by_held_out_ones() -> None:
    fit, held = rows(3, texts=30, count=300), rows(4, texts=10, count=100)
    strengths = chosen_strengths(fit, held)
    accuracy = {(a, b): Moments(fit).projections(a, b).accuracy(held) for a in GRID for b in GRID}
    assert accuracy[strengths] == max(accuracy.values()) > 0.8
    assert chosen_strengths(fit, None) == USUAL


def test_the_scale_with_the_least_loss() -> None:
    data = rows(5)
    made = Moments(data).projections(1.0, 1.0)
    losses = {s: float(torch.nn.functional.cross_entropy(s * made.scores(data), data.own)) for s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)}
    assert losses[min(losses, key=lambda s: abs(s - best_scale(made, data)))] <= min(losses.values()) + 0.05


def test_features_of_zero_and_one_direction_do_no_harm() -> None:
    data = rows(6)
    flat = Rows(torch.zeros_like(data.images), data.texts, data.own)
    made = Moments(flat).projections(10.0, 10.0)
    assert all(bool(t.isfinite().all()) for t in (*made.image, *made.text))
    assert isinstance(made, Projections)
