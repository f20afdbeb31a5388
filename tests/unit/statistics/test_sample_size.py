"""Ranks against Demšar's tables and scipy, planning against its definition, re-use by counting."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewtune.statistics import (
    average_ranks,
    count_reuse,
    episodes_needed,
    reuse_sentence,
)

REFERENCES = json.loads((Path(__file__).parents[2] / "references" / "statistics.json").read_text(encoding="utf-8"))
DEMSAR = REFERENCES["demsar_auc"]


def test_demsars_example() -> None:
    ranks = average_ranks(DEMSAR["scores"])
    assert ranks == pytest.approx(DEMSAR["average_ranks"], abs=5e-4)
    m, d = 4, 14
    assert 12 * d / (m * (m + 1)) * (np.sum(ranks**2) - m * (m + 1) ** 2 / 4) == pytest.approx(DEMSAR["chi_squared"], abs=5e-3)


def test_ranks_by_hand() -> None:
    assert average_ranks([[0.9, 0.5], [0.8, 0.5], [0.1, 0.7]]).tolist() == [1.75, 2.25, 2.0]
    assert average_ranks([[0.1 + 0.2], [0.3]]).tolist() == [1.5, 1.5]
    assert average_ranks([[0.0], [0.0]]).tolist() == [1.5, 1.5]
    assert average_ranks([[-1e-9, 2e-9]]).tolist() == [1.0]


@pytest.mark.parametrize("bad", [[0.1, 0.2], [[0.1, math.nan]], [[]]])
def test_ranks_refuse(bad: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        average_ranks(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sd", "half_width", "level"), [(0.1, 0.01, 0.95), (0.1, 0.1, 0.95), (10.0, 0.4, 0.99), (1.0, 5.0, 0.9)])
def test_the_smallest_number_that_suffices(sd: float, half_width: float, level: float) -> None:
    def half(n: int) -> float:
        return float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)

    n = episodes_needed(sd, half_width, level)
    assert half(n) <= half_width and (n == 2 or half(n - 1) > half_width)
    assert n >= (stats.norm.ppf((1 + level) / 2) * sd / half_width) ** 2


def test_planning_by_hand() -> None:
    # (1.96 * 0.1 / 0.01)^2 = 384.1, and two more for t instead of normal quantiles.
    assert episodes_needed(0.1, 0.01) == 387
    assert episodes_needed(0.0, 0.01) == 2
    for sd, half in ((-1.0, 0.1), (math.nan, 0.1), (0.1, 0.0), (0.1, math.nan)):
        with pytest.raises(ValueError, match="expected"):
            episodes_needed(sd, half)


def test_reuse_by_hand() -> None:
    found = count_reuse([[5, 6, 7], [5, 6, -1]])
    assert (found.episodes, found.rows, found.mean_uses, found.most_uses) == (2, 3, 5 / 3, 2)


def test_reuse_is_said_where_it_matters() -> None:
    query = np.random.default_rng(0).integers(0, 1234, (600, 75))
    sentence = reuse_sentence(query, "images")
    assert (
        sentence is not None and "the 1,234 query images, each used 36 times on average" in sentence and "Lafargue et al. 2024" in sentence
    )
    assert "each used 2.0 times" in str(reuse_sentence([[1, 2], [1, 2]]))
    assert reuse_sentence(np.arange(100).reshape(10, 10)) is None
    # 101 uses of 100 rows are below the threshold of 1.05, 105 are not.
    assert reuse_sentence(np.r_[np.arange(100), [0]][None]) is None
    assert reuse_sentence(np.r_[np.arange(100), np.arange(5)][None]) is not None


@pytest.mark.parametrize("bad", [[[-1, -1]], [1, 2, 3], [[0.5]], np.zeros((0, 5), dtype=int)])
def test_reuse_refuses(bad: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        count_reuse(bad)  # type: ignore[arg-type]
