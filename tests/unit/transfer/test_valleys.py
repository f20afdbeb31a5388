"""Valleys and the checks of criticality on networks small enough to know the answer."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fewtune import InputError
from fewtune.transfer import Criticality, ModuleCriticality, criticality, goes_with_error, grows_with_depth, rank_trend, valley

GROUPS = (("one", ("a",)), ("two", ("b",)))
START = {"a": torch.zeros(5000), "b": torch.zeros(5000)}
END = {"a": torch.full((5000,), 2.0), "b": torch.ones(5000)}


def error(weights: dict[str, torch.Tensor]) -> float:
    """The mean square distance from the end, over 8: alpha and sigma in closed form."""
    return sum(float((weights[n] - END[n]).square().mean()) for n in END) / 8


def test_a_valley_is_the_error_along_the_way_with_noise() -> None:
    found = valley(START, END, GROUPS, error, alphas=(0.0, 0.5, 1.0), sigmas=(0.0, 0.5), samples=2)
    assert found["one"].unit == pytest.approx(2) and found["two"].unit == pytest.approx(1)
    for title, length in (("one", 2.0), ("two", 1.0)):
        expected = np.array([[(1 - a) ** 2 + s * s for s in (0.0, 0.5)] for a in (0.0, 0.5, 1.0)]) * length**2 / 8
        np.testing.assert_allclose(found[title].errors, expected, rtol=0.05, atol=1e-9)
    again = valley(START, END, GROUPS, error, alphas=(0.5,), sigmas=(0.5,), samples=2)
    assert again["one"].errors[0, 0] == found["one"].errors[1, 1]


def test_the_noise_is_that_of_criticality() -> None:
    whole = criticality(START, END, GROUPS, error, alphas=(1.0,), sigmas=(0.5,), samples=2, threshold=10)
    assert (
        valley(START, END, GROUPS, error, alphas=(1.0,), sigmas=(0.5,), samples=2)["one"].errors[0, 0] == whole.modules["one"].errors[0, 0]
    )


@pytest.mark.parametrize("count", [4, 6, 9])
def test_the_trend_is_spearmans_with_the_p_of_all_orders(count: int) -> None:
    random = np.random.default_rng(count)
    x, y = random.normal(size=count), random.integers(4, size=count).astype(float)
    found = rank_trend(x, y)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    if count < 8:
        larger = [abs(spearmanr(x, order).statistic) >= abs(found.rho) - 1e-9 for order in permutations(y)]
        assert found.p == pytest.approx(np.mean(larger))
    else:
        assert found.p == pytest.approx(spearmanr(x, y).pvalue, abs=0.06)


def test_infinite_values_are_the_largest_and_constant_ones_say_nothing() -> None:
    assert rank_trend([1, 2, 3], [0.0, 5.0, math.inf]).rho == pytest.approx(1)
    assert math.isnan(rank_trend([1, 2, 3], [1, 1, 1]).p)
    with pytest.raises(InputError, match="three pairs"):
        rank_trend([1, 2], [1, 2])
    with pytest.raises(InputError, match="three pairs"):
        rank_trend([1, 2, 3], [1, 2, math.nan])


def test_the_two_checks() -> None:
    def of(*values: float) -> Criticality:
        none = np.zeros(0)
        return Criticality({str(i): ModuleCriticality(v, 1, 1, 1, none, none, np.zeros((0, 0))) for i, v in enumerate(values)}, 0.1)

    assert grows_with_depth(of(1, 2, 3, 4)).rho == pytest.approx(1) and grows_with_depth(of(4, 3, 2, 1)).rho == pytest.approx(-1)
    runs = [of(1, 0), of(0, 2), of(2, 1), of(4, 0)]
    assert goes_with_error(runs, [0.1, 0.2, 0.3, 0.4]).rho == pytest.approx(1)
    assert goes_with_error(runs, [0.1, 0.2, 0.3, 0.4]).p == pytest.approx(2 / 24)


def test_odd_input() -> None:
    with pytest.raises(InputError, match="a valley needs"):
        valley(START, END, GROUPS, error, sigmas=(-1.0,))
    with pytest.raises(InputError, match="no weights"):
        valley(START, END, (("x", ("q",)),), error)


def test_a_p_of_drawn_orders_is_never_nothing() -> None:
    """Phipson and Smyth, 2010: (b + 1) / (m + 1)."""
    assert rank_trend(range(20), range(20), resamples=99).p == 0.01
