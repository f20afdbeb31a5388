"""What is said of label columns that were measured on too few rows."""

from __future__ import annotations

import json

import numpy as np

from fewtune.joint.words import measured_sentence
from fewtune.models.joint.evaluate import JointEvaluation, TaskMeasured
from fewtune.report.joint_tables import render_joint_evaluation
from fewtune.statistics import METRICS
from fewtune.statistics.metric_intervals import metric_interval


def measured(truth: list[float]) -> TaskMeasured:
    answers = np.linspace(0.0, 1.0, len(truth))
    return TaskMeasured("price", "r2", metric_interval(METRICS["r2"], answers, truth), {"rmse": 0.5}, len(truth))


def test_one_row_has_no_r2_and_that_is_said_in_words() -> None:
    one = measured([0.5])
    assert measured_sentence(one) == "price: R2 has no value on 1 test row: it needs rows with different labels."
    shown = render_joint_evaluation(JointEvaluation("more", (one,), ()), "table", width=120)
    assert "nan" not in shown and "unknown" in shown and "different labels" in shown
    assert json.loads(render_joint_evaluation(JointEvaluation("more", (one,), ()), "json"))["tasks"]["price"]["mean"] is None


def test_several_rows_are_shown_as_numbers() -> None:
    several = measured([0.0, 0.4, 1.0])
    assert measured_sentence(several).startswith("price: R2 0.98 (")
    assert "unknown" not in render_joint_evaluation(JointEvaluation("more", (several,), ()), "table", width=120).lower()
