"""Paired tests against enumeration, scipy, Fisher's own example."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fewtune.statistics import paired_interval, sign_flip_test, t_interval, wilcoxon_test
from fewtune.statistics.paired import on_lattice

ZEA_MAYS = json.loads((Path(__file__).parents[2] / "references" / "statistics.json").read_text(encoding="utf-8"))["zea_mays"]


def enumerated(x: np.ndarray) -> float:
    """The definition, pattern by pattern."""
    least = abs(math.fsum(x)) - 1e-9
    return float(
        np.mean(
            [abs(math.fsum(s * v for s, v in zip(signs, x, strict=True))) >= least for signs in itertools.product((-1, 1), repeat=len(x))]
        )
    )


def test_fishers_maize() -> None:
    d = np.array(ZEA_MAYS["differences"])
    assert sign_flip_test(d) == ZEA_MAYS["as_large"] / 2**15
    assert sign_flip_test(d * math.pi / 1000) == ZEA_MAYS["as_large"] / 2**15  # off every lattice: by enumeration
    assert wilcoxon_test(d) == ZEA_MAYS["wilcoxon_p"]


@pytest.mark.parametrize("seed", range(6))
def test_small_samples_are_enumerated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 11))
    for x in (rng.normal(0.3, 1, n), rng.integers(-3, 5, n) / 15):
        assert sign_flip_test(x) == pytest.approx(enumerated(x), rel=1e-12)


def test_scipys_permutation_test() -> None:
    x = np.random.default_rng(3).normal(0.3, 1, 12)
    theirs = stats.permutation_test((x,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(x) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_exact_and_random_patterns_agree() -> None:
    """The same 60 differences, once as integers (exact) and once times pi (Monte Carlo)."""
    whole = np.random.default_rng(0).integers(-400, 520, 60)
    exact = sign_flip_test(whole)
    assert 0.01 < exact < 0.5
    random = sign_flip_test(whole * (math.pi / 1000), seed=7)
    assert random != exact
    assert random == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 100_000))
    assert random == sign_flip_test(whole * (math.pi / 1000), seed=7)


def test_near_the_normal_limit() -> None:
    d = np.random.default_rng(2).normal(0.01, 0.1, 600)
    z = abs(d.sum()) / math.sqrt(float((d**2).sum()))
    assert sign_flip_test(d) == pytest.approx(2 * stats.norm.sf(z), abs=0.005)
    d = np.round(d * 75) / 75
    z = (abs(d.sum()) - 1 / 75) / math.sqrt(float((d**2).sum()))  # sums are 2/75 apart: half of that for continuity
    assert sign_flip_test(d) == pytest.approx(2 * stats.norm.sf(z), abs=0.001)


def test_one_sided_evidence_has_the_smallest_p() -> None:
    assert sign_flip_test(np.full(20, 0.2)) == pytest.approx(2.0**-19, rel=1e-12)
    assert sign_flip_test(np.full(500, 1 / 75)) == pytest.approx(2.0**-499, rel=1e-12)
    assert sign_flip_test(np.full(5_000, 1.0)) > 0
    assert sign_flip_test(np.linspace(1, 2, 50) * math.pi, resamples=999) == 1 / 1000


@pytest.mark.parametrize("test", [sign_flip_test, wilcoxon_test])
def test_zeros(test: object) -> None:
    assert test([0.0, 0.0]) == 1.0  # type: ignore[operator]
    assert test([0.0]) == 1.0  # type: ignore[operator]
    d = np.array([0.3, -0.2, 0.1, 0.4, -0.05, 0.25, 0.15])
    assert test(np.r_[d, np.zeros(30)]) == test(d)  # type: ignore[operator]
    with pytest.raises(ValueError, match="NaN"):
        test([0.1, math.nan])  # type: ignore[operator]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=40), st.integers(1, 100), st.sampled_from([np.float64, np.float32]))
def test_float_accuracies_are_their_counts(counts: list[int], queries: int, dtype: type[np.floating]) -> None:
    """Differences of accuracies k / Q give the p of the integers, whatever rounding of float32 or subtraction left."""
    base = dtype(0.5)
    scores = np.array([(queries // 2 + c) / queries for c in counts], dtype=dtype)
    d = (scores - base) - (dtype((queries // 2) / queries) - base)
    assert sign_flip_test(d) == sign_flip_test(counts)
    assert wilcoxon_test(d) == wilcoxon_test(counts)


def test_lattice() -> None:
    assert on_lattice(np.array([1 / 75, -2 / 75, 0.2])).tolist() == [1, -2, 15]  # type: ignore[union-attr]
    assert on_lattice(np.array([0.5, 1 / 3])).tolist() == [3, 2]  # type: ignore[union-attr]
    assert on_lattice(np.zeros(3)).tolist() == [0, 0, 0]  # type: ignore[union-attr]
    assert on_lattice(np.random.default_rng(0).normal(size=30)) is None
    assert on_lattice(np.random.default_rng(0).normal(size=30) * 1e-6) is None
    assert on_lattice(np.random.default_rng(0).normal(size=30) * 1e9) is None


def test_p_is_uniform_when_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    ps = np.array([sign_flip_test((rng.integers(0, 76, 40) - rng.integers(0, 76, 40)) / 75) for _ in range(1_000)])
    for a in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(ps <= a) == pytest.approx(a, abs=4 * math.sqrt(a * (1 - a) / 1_000))


@pytest.mark.parametrize("n", [5, 30, 50])
def test_wilcoxon_without_ties_is_scipys_exact(n: int) -> None:
    x = np.random.default_rng(n).normal(0.2, 1, n)
    assert wilcoxon_test(x) == pytest.approx(stats.wilcoxon(x, method="exact").pvalue, rel=1e-10)


def test_wilcoxon_with_ties_is_the_permutation_of_its_ranks() -> None:
    x = np.array([1, 1, -1, 2, 3, 3, -2, 5.0])
    assert wilcoxon_test(x / 75) == pytest.approx(enumerated(np.sign(x) * stats.rankdata(np.abs(x))), rel=1e-12)


def test_wilcoxon_of_many_is_scipys() -> None:
    x = np.random.default_rng(1).normal(0.1, 1, 300)
    assert wilcoxon_test(x) == pytest.approx(stats.wilcoxon(x).pvalue, rel=1e-12)


def test_paired_interval_is_scipys() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    theirs = stats.ttest_rel(a, b).confidence_interval(0.9)
    found = paired_interval(a - b, 0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert found.half_width == t_interval(a - b, 0.9).half_width
