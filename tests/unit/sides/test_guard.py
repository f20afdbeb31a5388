"""How many labels it takes to judge by them, and what the comparison says."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.sides.guard import OWN, guard_of, own_splits_allow
from fewtune.sides.held_out import HeldOut
from fewtune.statistics import Gain


@pytest.mark.parametrize(("shots", "ways", "allowed"), [(8, 5, True), (3, 20, False), (4, 5, False), (5, 6, True)])
def test_how_many_labels_it_takes(shots: int, ways: int, allowed: bool) -> None:
    assert own_splits_allow(np.repeat(np.arange(ways), shots), ways) is allowed


def test_a_rare_class_does_not_stop_the_others_from_being_split() -> None:
    assert own_splits_allow(np.repeat([0, 1, 2], [500, 500, 1]), 3)
    assert not own_splits_allow(np.repeat(np.arange(31), [30] + [1] * 30), 31)  # one class alone says little of the whole


def test_a_guard_shows_the_two_accuracies_and_the_gain_that_was_tested() -> None:
    """Rows that either side never answered count for neither."""

    def held(right: list[float]) -> HeldOut:
        logits = np.array([[[r, 1 - r] if r >= 0 else [np.nan, np.nan] for r in right]])
        return HeldOut(logits, np.zeros(len(right), dtype=np.int64))

    frozen, rival = held([1, 0, 0, 0, 1, -1]), held([1, 1, 1, 0, 0, 1])
    gain = Gain("own labels", 0.3, 0.1, 0.01, 0.95, 0.3, 5, 0)
    found = guard_of(frozen, rival, gain)
    assert found.where == OWN and found.by_rows and not found.too_few and found.advised is None
    assert (found.frozen, found.finetuned) == (0.4, 0.6)
    assert found.differences.tolist() == [0, 1, 1, 0, -1]
    assert (found.gain.mean, found.gain.low, found.gain.high) == pytest.approx((0.2, 0.2 / 3, 1 / 3))  # the same t, in points of accuracy
    assert found.kept
    assert not guard_of(frozen, rival, Gain("own labels", 0.3, -0.1, 0.2, 0.95, 0.3, 5, 0)).kept
