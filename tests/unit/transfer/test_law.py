"""The law of the downstream error: known laws, scipy's hull and least squares, the randomised-classifier lemma."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.spatial import ConvexHull

from fewtune import InputError
from fewtune.transfer import downstream_law, hull, mixture, overlay, rescaled, residual_spread, sensitivity, shot_correlations

SOME = st.integers(0, 10**6)


def cloud(
    seed: int, count: int, scale: float = 0.6, exponent: float = 2.0, floor: float = 0.1, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Models at or above a law."""
    random = np.random.default_rng(seed)
    x = random.uniform(0.2, 0.9, count)
    return x, np.clip(floor + scale * x**exponent + noise * random.random(count) ** 3, 0, 1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=SOME, count=st.integers(3, 40))
def test_the_hull_is_the_lower_edge_of_scipys(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).random((count, 2))
    mine = hull(points[:, 0], points[:, 1])
    theirs = ConvexHull(points).vertices
    assert set(mine.tolist()) <= set(theirs.tolist())
    assert points[mine[0], 0] == points[:, 0].max() and points[mine[-1], 0] == points[:, 0].min()
    edge = np.interp(points[:, 0], points[mine[::-1], 0], points[mine[::-1], 1])
    assert (points[:, 1] >= edge - 1e-12).all()  # no point lies below it
    others = [v for v in theirs if v not in mine.tolist()]
    assert (points[others, 1] > np.interp(points[others, 0], points[mine[::-1], 0], points[mine[::-1], 1]) - 1e-12).all()


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=SOME)
def test_a_randomised_classifier_has_the_mean_accuracy(seed: int) -> None:
    """The lemma, by counting: pick a model for each row with its probability; the expectation is over rows and picks."""
    random = np.random.default_rng(seed)
    right = random.random((3, 2000)) < random.random((3, 1))
    chances = random.dirichlet(np.ones(3))
    picked = random.choice(3, size=(50, 2000), p=chances)
    seen = right[picked, np.arange(2000)].mean()
    assert seen == pytest.approx(float(mixture(right.mean(1), chances)), abs=0.01)
    pairs = random.random((3, 2))
    np.testing.assert_allclose(mixture(pairs, chances), chances @ pairs)


def test_no_mixture_lies_below_the_hull() -> None:
    random = np.random.default_rng(3)
    points = random.random((12, 2))
    edge = hull(*points.T)[::-1]
    for _ in range(200):
        x, y = mixture(points, random.dirichlet(np.full(12, 0.3)))
        assert y >= np.interp(x, points[edge, 0], points[edge, 1]) - 1e-12


@pytest.mark.parametrize("law", [(0.5, 0.4, 0.1), (0.9, 1.0, 0.0), (0.4, 2.5, 0.3)])
def test_a_law_is_found_again(law: tuple[float, float, float]) -> None:
    x = np.linspace(0.05, 0.95, 20)
    scale, exponent, floor = law
    found = downstream_law(x, scale * x**exponent + floor, resamples=50)
    assert found.exponent.mean == pytest.approx(exponent, rel=0.02)
    assert (found.scale.mean, found.floor.mean) == (pytest.approx(scale, abs=0.02), pytest.approx(floor, abs=0.02))
    assert found.r2 > 0.9999 and found.error < 1e-3
    assert found.at(0.5).mean == pytest.approx(scale * 0.5**exponent + floor, abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_the_least_squares_are_those_of_nnls_over_exponents(seed: int) -> None:
    x, y = cloud(seed, 25)
    found = downstream_law(x, y, resamples=0)
    best = min(nnls(np.stack([x**a, np.ones_like(x)], 1), y)[1] for a in np.geomspace(0.05, 8, 4000))
    assert found.error * np.sqrt(len(x)) == pytest.approx(best, rel=1e-4)


def test_the_hull_finds_the_best_models_and_all_points_the_average() -> None:
    x, y = cloud(0, 400, noise=0.25)
    best, average = downstream_law(x, y, "hull", resamples=100), downstream_law(x, y, resamples=100)
    truth = 0.1 + 0.6 * 0.5**2
    assert best.at(0.5).mean == pytest.approx(truth, abs=0.02)
    assert average.at(0.5).mean > truth + 0.03
    assert best.points.tolist() == hull(x, y).tolist() and len(average.points) == 400
    assert best.floor.mean == pytest.approx(0.1, abs=0.03) and best.floor.low >= 0


def test_intervals_cover_the_truth() -> None:
    """Normal noise around a true law: the interval at a point inside covers it in nearly 95 of 100 cases."""
    covered = []
    for seed in range(25):
        random = np.random.default_rng(seed)
        x = random.uniform(0.2, 0.9, 40)
        y = np.clip(0.1 + 0.6 * x**1.5 + 0.02 * random.standard_normal(40), 0, 1)
        covered.append(0.1 + 0.6 * 0.4**1.5 in downstream_law(x, y, resamples=80, seed=seed).at(0.4))
    assert np.mean(covered) >= 0.85


def test_too_few_points_and_what_is_no_error() -> None:
    with pytest.raises(InputError, match="at least 4 points, found 3 points"):
        downstream_law([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="fit all points"):
        downstream_law([0.1, 0.2, 0.3, 0.4, 0.5], np.sqrt([0.1, 0.2, 0.3, 0.4, 0.5]), "hull")
    with pytest.raises(InputError, match="3 different upstream errors"):
        downstream_law([0.1, 0.1, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(InputError, match="shares of wrong answers"):
        downstream_law([10, 20, 30, 40], [1, 2, 3, 4])
    with pytest.raises(InputError, match="found none: a law needs at least 4 points"):
        downstream_law([], [])
    with pytest.raises(InputError, match="found shapes"):
        hull([0.1, 0.2], [0.1])
    with pytest.raises(InputError, match="summing to 1"):
        mixture([0.1, 0.2], [0.5, 0.6])


def test_sensitivity_of_an_exact_law_is_nothing_and_of_noise_falls() -> None:
    x = np.linspace(0.1, 0.9, 40)
    exact = sensitivity(x, 0.5 * x**2 + 0.1, [6, 20], "all", repeats=5)
    assert np.nanmax(exact.fitting) < 2e-3 and np.nanmax(exact.prediction) < 1e-2
    random = np.random.default_rng(0)
    noisy = sensitivity(x, np.clip(0.5 * x**2 + 0.2 + 0.05 * random.standard_normal(40), 0, 1), [5, 30], "all", repeats=40)
    assert np.nanmedian(noisy.prediction[0]) > np.nanmedian(noisy.prediction[1])
    assert np.nanmedian(noisy.fitting[0]) < np.nanmedian(noisy.fitting[1])  # few points are fitted more closely than they deserve
    with pytest.raises(InputError, match="at least 4 points beside those held out, found 3 of 4 models"):
        sensitivity([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], (4,))
    with pytest.raises(InputError, match="from 4 to 32"):
        sensitivity(x, x, [3])


def test_correlations_with_log_shots() -> None:
    x = np.linspace(0.1, 0.9, 12)
    laws = {s: downstream_law(x, 0.4 * x**1.5 + 0.5 - 0.1 * np.log10(s), resamples=0) for s in (1, 10, 100)}
    found = shot_correlations(laws)
    assert found["floor"] == (pytest.approx(-1, abs=1e-3), pytest.approx(-1))
    with pytest.raises(InputError, match="three or more"):
        shot_correlations({1: laws[1], 10: laws[10]})


def test_what_upstream_error_leaves_open() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0.1, 0.9, 500)
    y = 0.3 * x + 0.3 + 0.05 * random.standard_normal(500)
    assert residual_spread(x, y) == pytest.approx(0.05, rel=0.1)


def test_overlay_is_the_height_above_another_hull() -> None:
    found = overlay([0.3, 0.9, 0.2], [0.5, 0.5, 0.4], [0.2, 0.4, 0.4], [0.2, 0.4, 0.9])
    assert found[0] == pytest.approx(0.2) and np.isnan(found[1]) and found[2] == pytest.approx(0.2)


def test_scales_of_a_figure() -> None:
    p = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(rescaled(p, "logit"), np.log(p / (1 - p)))
    np.testing.assert_allclose(rescaled(p, "log_error"), -np.log(1 - p))
    assert rescaled(p).tolist() == p.tolist() and rescaled([1.0], "logit")[0] == np.inf
    with pytest.raises(InputError, match="unknown scale"):
        rescaled(p, "log")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", range(4, 12))
def test_points_of_one_error_have_no_variance_to_explain(count: int) -> None:
    """The mean of equal numbers differs from them by rounding."""
    for error in (0.1, 0.37, 0.7):
        law = downstream_law(np.linspace(0.1, 0.9, count), np.full(count, error), resamples=0)
        assert np.isnan(law.r2) and law.scale.mean == pytest.approx(0, abs=1e-12) and law.floor.mean == pytest.approx(error)
    for shots in (3, 6, 7):
        alike = shot_correlations(dict.fromkeys(range(1, shots + 1), law))
        assert all(np.isnan(value) for pair in alike.values() for value in pair)


def test_points_on_an_edge_of_the_hull_are_no_corners() -> None:
    assert hull([0.25, 0.5, 0.75, 1.0], [0.125, 0.25, 0.375, 1.0]).tolist() == [3, 2, 0]


def test_each_resample_has_a_hull_of_its_own() -> None:
    """The best models follow the law exactly; as many others, far above it, move no resampled law."""
    x = np.linspace(0.1, 0.9, 12)
    others = np.linspace(0.25, 0.75, 12)
    law = downstream_law(np.r_[x, others], np.r_[0.5 * x**2 + 0.1, 0.5 * others**2 + 0.5], "hull", resamples=100)
    floor, scale, exponent = law.resampled.T
    assert np.median(floor + scale * 0.5**exponent) == pytest.approx(0.225, abs=0.01)


def test_the_spread_counts_three_unknowns() -> None:
    random = np.random.default_rng(3)
    x = random.uniform(0.1, 0.9, 8)
    y = 0.5 * x + 0.2 + 0.02 * random.normal(size=8)
    left = y - downstream_law(x, y, resamples=0).predict(x)
    assert residual_spread(x, y) == pytest.approx(np.sqrt((left**2).sum() / 5), rel=1e-12)
