"""The table of few-shot regression: a mark is a paired interval above 0 to every other method, row by row by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewtune.report.regression import regression_table
from fewtune.studies.regression import Errors


def test_marks_and_differences() -> None:
    random = np.random.default_rng(0)
    base = 1 + random.random((2, 50))
    found = [
        Errors("good", 5, base, 100),
        Errors("near", 5, base + np.where(np.arange(50) % 2 == 0, 0.5, -0.45), 0),
        Errors("good", 10, base, 100),
        Errors("bad", 10, base + 0.3 + 0.01 * random.random((2, 50)), 0),
    ]
    table = regression_table(found, "tasks")
    by: Any = {(row[0].value, row[1].value): dict(zip(table.names, row, strict=True)) for row in table.rows}
    assert [row[1].value for row in table.rows] == [5, 5, 10, 10]
    assert by["good", 10]["rmse"].best and not by["good", 5]["rmse"].best and not by["bad", 10]["rmse"].best
    assert np.isclose(float(by["good", 5]["rmse"].value), base.mean()) and by["good", 5]["above_lowest"].value is None
    assert np.isclose(float(by["near", 5]["above_lowest"].value), 0.025) and by["near", 5]["above_interval"].value[0] < 0
    assert by["good", 10]["visits"].value == 100 and by["bad", 10]["visits"].value is None
    assert not any(row[2].best for row in regression_table(found[:1], "tasks").rows)  # alone, nothing is beaten
