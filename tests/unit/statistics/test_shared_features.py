"""A first look at frozen features: planted tasks that need the same features, or others."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.statistics import shared_features


def planted(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """a, minus a, b (another direction), the classes of a's sign, noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 10))
    a, b = x[:, 0] + x[:, 1], x[:, 2] - x[:, 3]
    targets = [a, -a + 0.3 * rng.normal(size=rows), b, np.eye(2)[(a > 0).astype(int)], rng.normal(size=rows)]
    return x, [t if t.ndim == 2 else t[:, None] for t in targets]


def test_planted_tasks_are_told_apart() -> None:
    found = shared_features(*planted())
    same, others = [(0, 1), (1, 0), (0, 3), (3, 0), (1, 3), (3, 1)], [(0, 2), (2, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    assert min(found[pair] for pair in same) > 0.9
    assert max(found[pair] for pair in others) < 0.1
    assert found.diagonal()[:4] == pytest.approx(1.0)


def test_half_of_what_is_needed_explains_half() -> None:
    """Task 1 is the sum of what task 0 knows and as much that it does not."""
    x = np.random.default_rng(1).normal(size=(4000, 6))
    found = shared_features(x, [x[:, :1], x[:, :1] + x[:, 1:2]])
    assert found[0, 1] == pytest.approx(0.5, abs=0.05) and found[1, 0] == pytest.approx(0.5, abs=0.05)


def test_missing_targets_are_left_out() -> None:
    x, targets = planted()
    holes = [t.copy() for t in targets]
    holes[0][:100] = np.nan
    holes[2][300:] = np.nan
    found = shared_features(x, holes)
    assert found[0, 1] > 0.9 and found[0, 2] < 0.1
    holes[0][15:] = np.nan
    few = shared_features(x, holes)
    assert np.isnan(few[0]).all() and np.isnan(few[:, 0]).all() and few[1, 3] > 0.9


def test_a_task_that_features_do_not_hold_has_no_column() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 30))
    found = shared_features(x, [x[:, :1], np.ones((60, 1))])
    assert np.isnan(found[:, 1]).all() and found[0, 0] == 1.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        shared_features(np.zeros((3, 2)), [np.zeros(3)])
    with pytest.raises(ValueError, match="finite"):
        shared_features([[np.nan]], [np.zeros((1, 1))])
