"""Power laws against scipy's non-negative least squares, laws known beforehand, closed forms and simulated coverage."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize_scalar, nnls
from scipy.stats import norm

from fewtune.statistics import PowerLaw, bootstrap_power_law, fit_power_law

SIZES = [1, 2, 4, 8, 16]


@pytest.mark.parametrize("law", [PowerLaw(0.1, 0.5, 0.5), PowerLaw(0.0, 0.8, 0.2), PowerLaw(0.3, 0.6, 1.7), PowerLaw(0.02, 3.0, 0.9)])
def test_a_law_is_found_again(law: PowerLaw) -> None:
    sizes = [n * 2.5 for n in SIZES]
    found = fit_power_law(sizes, [law.at(n) for n in sizes])
    for n in (2.5, 40, 160):
        assert found.at(n) == pytest.approx(law.at(n), abs=2e-3)
    assert found.exponent == pytest.approx(law.exponent, rel=0.03)


@pytest.mark.parametrize("seed", range(12))
def test_the_least_squares_are_scipys(seed: int) -> None:
    """The same weighted loss as nnls at the best exponent by a bounded search from every piece of the range."""
    random = np.random.default_rng(seed)
    n = np.sort(random.uniform(0.5, 60, random.integers(3, 8)))
    shape = [n**-0.5, np.log(n + 2), np.ones_like(n), np.maximum(0, 0.9 - 0.1 * n)][seed % 4]  # falling, rising, flat, bent the other way
    errors = np.maximum(0, 0.5 * shape + 0.05 * random.normal(size=len(n)))
    variances = random.uniform(0.5, 5, len(n))
    root = 1 / np.sqrt(variances)

    def loss(exponent: float) -> float:
        return float(nnls(np.stack([np.ones_like(n), n**-exponent], 1) * root[:, None], errors * root)[1])

    edges = np.geomspace(0.05, 2, 30)
    best = min(float(minimize_scalar(loss, bounds=pair, method="bounded").fun) for pair in pairwise(edges))
    found = fit_power_law(n, errors, variances)
    assert found.floor >= 0 and found.scale >= 0 and 0.05 <= found.exponent <= 2
    mine = float(np.linalg.norm((found.floor + found.scale * n**-found.exponent - errors) * root))
    assert mine == pytest.approx(best, rel=1e-3, abs=1e-6)


def test_weights_say_which_sizes_count() -> None:
    law = PowerLaw(0.1, 0.4, 0.5)
    errors = np.array([law.at(n) for n in SIZES])
    errors[2] += 0.2
    variances = [1e-4, 1e-4, 1.0, 1e-4, 1e-4]
    assert fit_power_law(SIZES, errors, variances).at(32) == pytest.approx(law.at(32), abs=0.01)
    assert abs(fit_power_law(SIZES, errors).at(32) - law.at(32)) > 0.02
    assert fit_power_law(SIZES, np.full(5, 0.2), np.zeros(5)).at(1000) == pytest.approx(0.2)


def test_labels_needed() -> None:
    law = PowerLaw(0.1, 0.4, 0.5)
    assert law.needed(law.at(37.0)) == pytest.approx(37.0)
    assert law.needed(0.2) == pytest.approx(16.0)  # 0.1 = 0.4 / 4
    assert law.needed(0.1) == law.needed(0.05) == math.inf
    assert PowerLaw(0.3, 0.0, 1.0).needed(0.2) == math.inf and PowerLaw(0.3, 0.0, 1.0).needed(0.3) == 0
    assert PowerLaw(0.0, 1.0, 0.05).needed(1e-30) == math.inf  # more than any number


def test_flat_rising_and_perfect_curves() -> None:
    for errors in ([0.2] * 5, [0.1, 0.15, 0.2, 0.25, 0.3]):  # what rises with labels is fitted by a flat line
        found = fit_power_law(SIZES, errors)
        assert found.scale == pytest.approx(0, abs=1e-9) and found.at(1e6) == pytest.approx(np.mean(errors))
    perfect = bootstrap_power_law(SIZES, np.zeros((30, 5)))
    assert perfect.at(32).high == 0 and perfect.needed(0.1).high == 0


def test_bounds_and_their_seed() -> None:
    random = np.random.default_rng(0)
    wrong = (random.random((80, 5)) < [0.6, 0.5, 0.4, 0.3, 0.25]).astype(float)
    first, again, other = (bootstrap_power_law(SIZES, wrong, seed=s) for s in (0, 0, 1))
    assert first.at(32) == again.at(32) != other.at(32)
    near, far = first.at(16), first.at(64)
    assert near.low < near.mean < near.high and far.high - far.low > near.high - near.low and near.n == 80
    needed = first.needed(0.05)
    assert needed.low <= needed.mean <= needed.high == math.inf
    assert first.at(32, 0.5).high - first.at(32, 0.5).low < first.at(32).high - first.at(32).low


def test_strata_keep_their_size() -> None:
    """Two classes, one always right and one always wrong: within classes nothing is left to vary."""
    wrong = np.repeat([[0.0], [1.0]], 20, axis=0) * np.ones(3)
    within = bootstrap_power_law([1, 2, 4], wrong, strata=np.repeat(["a", "b"], 20)).at(8)
    across = bootstrap_power_law([1, 2, 4], wrong).at(8)
    assert within.high - within.low < 1e-9 and across.high - across.low > 0.2


@pytest.mark.parametrize(
    ("law", "sizes", "items", "least"),
    [
        (PowerLaw(0.1, 0.4, 0.6), [1, 2, 4, 6.4], 80, 0.90),
        (PowerLaw(0.2, 0.3, 1.0), [1, 2, 4], 40, 0.87),
        (PowerLaw(0.0, 0.5, 0.3), [1, 2, 4], 40, 0.82),  # a slow law without a floor is the hardest: three sizes see no floor from it
    ],
)
def test_simulated_coverage(law: PowerLaw, sizes: list[float], items: int, least: float) -> None:
    """95% intervals at twice and four times the last size, over 200 simulations of items whose difficulty is the same at every size."""
    expected = np.array([law.at(n) for n in sizes])
    hits = np.zeros(2)
    for seed in range(200):
        random = np.random.default_rng(seed)
        difficulty = norm.cdf(0.84 * random.normal(size=(items, 1)) + 0.54 * random.normal(size=(items, len(sizes))))
        fitted = bootstrap_power_law(sizes, (difficulty < expected).astype(float), seed=seed, resamples=200)
        hits += [law.at(times * sizes[-1]) in fitted.at(times * sizes[-1]) for times in (2, 4)]
    assert (hits / 200 >= least).all() and (hits / 200 <= 0.99).all()


@pytest.mark.parametrize(
    ("sizes", "errors", "said"),
    [
        ([1, 2, 2], [[0.1, 0.2, 0.3]] * 3, "3 distinct sizes"),
        ([0, 1, 2], [[0.1, 0.2, 0.3]] * 3, "above 0"),
        ([1, 2, 4], [[0.1, 0.2]] * 3, "3 sizes"),
        ([1, 2, 4], [[0.1, 0.2, 0.3]], "at least 2 units"),
        ([1, 2, 4], [[0.1, 0.2, -0.3]] * 3, "at least 0"),
        ([1, 2, 4], [[0.1, 0.2, math.nan]] * 3, "NaN"),
    ],
)
def test_refuses_what_is_no_curve(sizes: list[float], errors: list[list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap_power_law(sizes, errors)
    with pytest.raises(ValueError):
        fit_power_law([1, 2, 4], [0.1, 0.2, 0.3], [1, 2])
