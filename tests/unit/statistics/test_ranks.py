"""Friedman's test and Nemenyi's difference against Demšar's tables and scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewtune.statistics import average_ranks, friedman_test, nemenyi_difference

REFERENCES = json.loads((Path(__file__).parents[2] / "references" / "statistics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("level", ["0.95", "0.90"])
def test_critical_values_are_those_of_the_table(level: str) -> None:
    """q sqrt(k (k + 1) / 6 N): with N = k (k + 1) / 6 the difference is q itself."""
    for methods, q in enumerate(REFERENCES["nemenyi_q"][level], 2):
        found = nemenyi_difference(methods, 1, float(level)) / np.sqrt(methods * (methods + 1) / 6)
        assert found == pytest.approx(q, abs=1.5e-3)
        assert nemenyi_difference(methods, 25, float(level)) == pytest.approx(nemenyi_difference(methods, 1, float(level)) / 5)


def test_friedman_is_scipys_with_and_without_ties() -> None:
    generator = np.random.default_rng(0)
    for scores in (generator.normal(size=(5, 12)), generator.integers(0, 3, (4, 20)).astype(float)):
        assert friedman_test(scores) == pytest.approx(stats.friedmanchisquare(*scores).pvalue, rel=1e-9)
    assert friedman_test(np.ones((3, 7))) == 1.0


def test_demsars_example() -> None:
    example = REFERENCES["demsar_auc"]
    scores = np.array(example["scores"])
    ranks = average_ranks(scores)
    assert ranks == pytest.approx(example["average_ranks"], abs=5e-4)
    plain = 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4)  # without the correction for ties, as printed
    assert plain == pytest.approx(example["chi_squared"], abs=5e-3)
    assert friedman_test(scores) == pytest.approx(stats.friedmanchisquare(*scores).pvalue) and friedman_test(scores) < stats.chi2.sf(
        plain, 3
    )
    assert nemenyi_difference(*scores.shape) == pytest.approx(example["critical_difference"], abs=5e-3)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 methods on 2 datasets, found 1 and 3"):
        friedman_test(np.ones((1, 3)))
    with pytest.raises(ValueError, match="at least 2 methods and 1 dataset"):
        nemenyi_difference(1, 3)
