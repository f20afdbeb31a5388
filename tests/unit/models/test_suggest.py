"""Which rows to label next: uncertain ones, far from one another, none twice."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import fewtune
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError
from fewtune.models.suggest import suggest, uncertain_and_diverse
from fewtune.report.suggestions import render_suggestions
from fewtune.statistics import Slope, carried_on


def test_uncertain_groups_are_asked_about_once_each() -> None:
    """Three tight groups of unsure rows among many sure ones: one row of each is chosen."""
    random = np.random.default_rng(0)
    centres = np.eye(4)
    x = np.repeat(centres, [30, 10, 10, 10], axis=0) + 0.01 * random.normal(size=(60, 4))
    p = np.where(np.arange(60)[:, None] < 30, [[0.999, 0.001]], [[0.55, 0.45]])
    chosen = uncertain_and_diverse(x, p, 3)
    assert sorted(x[chosen].argmax(1)) == [1, 2, 3]
    assert (uncertain_and_diverse(x, p, 3) == chosen).all()  # the same every time
    order = uncertain_and_diverse(x, p, 99)
    assert sorted(order) == list(range(60)) and (order[:30] >= 30).all()


def test_copies_do_not_stop_it_and_no_row_is_chosen_twice() -> None:
    x, p = np.ones((7, 3)), np.full((7, 2), 0.5)
    assert len(set(uncertain_and_diverse(x, p, 5).tolist())) == 5
    sure = np.tile([1.0, 0.0], (7, 1))
    assert len(set(uncertain_and_diverse(np.eye(7), sure, 4).tolist())) == 4


def test_the_gain_is_that_of_the_learning_curve() -> None:
    """Log-odds above chance grow by slope x log times."""
    found = carried_on(0.7, 3.0, 0.2, Slope(0.5, 0.1))
    above, later = (0.7 - 0.2) / 0.8, (found - 0.2) / 0.8
    assert math.log(later / (1 - later)) - math.log(above / (1 - above)) == pytest.approx(0.5 * math.log(3))
    assert carried_on(0.7, 1.0, 0.2) == pytest.approx(0.7) and carried_on(1.0, 2, 0.5) == 1 and carried_on(0.1, 2, 0.5) == 0.1
    for wrong in ((1.1, 2, 0.5), (0.5, 0.5, 0.2), (0.5, 2, 1.0)):
        with pytest.raises(ValueError, match="expected"):
            carried_on(*wrong)


def rows(values: Any) -> Any:
    return read_asked((np.asarray(values, dtype=np.float32), None), Asked(labelled=False))


def test_known_rows_and_copies_are_left_out() -> None:
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    made = fewtune.adapt((x, ["a", "b", "c"] * 8), method="centroid")
    new = np.concatenate([x[:2], [[1, 2, 3]], [[1, 2, 3]], [[3, 1, 0]]])
    found = suggest(made.bundle, rows(new), 10)
    assert sorted(s.row for s in found.rows) == [2, 4]
    assert dict(found.left_out) == {
        "data:0": "the model was learned from it",
        "data:1": "the model was learned from it",
        "data:3": "a copy of data:2",
    }
    assert found.expected is not None and found.expected[0] == made.bundle.facts["expected_accuracy"]["mean"]
    assert found.expected[1] >= found.expected[0]
    record = json.loads(render_suggestions(found, rows(new), "json"))
    assert [s["input"] for s in record["suggestions"]] == [s.name for s in found.rows]
    assert set(record["suggestions"][0]) == {"input", "answer", "probability", "margin"}
    assert record["expected_accuracy"] == {"now": found.expected[0], "then": found.expected[1]}
    with pytest.raises(InputError, match="no row is left to suggest: data:0"):
        suggest(made.bundle, rows(x[:2]), 1)
    with pytest.raises(InputError, match="count of 1"):
        suggest(made.bundle, rows(new), 0)
