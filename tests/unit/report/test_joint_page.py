"""The figure of values: columns that are judged by an error have no place on a scale from 0 to 1."""

from __future__ import annotations

from pathlib import Path

from fewtune.joint.adapt import JointSettings, adapt_columns
from fewtune.report.joint_page import joint_page, values_figure
from tests.unit.joint.grounds import houses


def test_errors_are_left_out_of_the_figure_and_named_right_in_the_table(tmp_path: Path) -> None:
    table = houses(tmp_path)
    found = adapt_columns(table, None, JointSettings(methods={}, metrics={"float": "mae", "class": "auc"}))
    drawn = values_figure(found.tasks)
    assert drawn is not None and "price " not in drawn.svg and "kind " in drawn.svg
    assert "How well held-out rows are answered: auc, average precision." in drawn.caption
    errors = tuple(task for task in found.tasks if task.task.name == "price")
    assert values_figure(errors) is None
    assert "mae" in joint_page(found)
