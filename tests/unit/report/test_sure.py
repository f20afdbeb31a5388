"""The figure of coverage against accuracy."""

from __future__ import annotations

import numpy as np

from fewtune.report.figures_sure import sure_figure
from fewtune.statistics import coverage_curve


def test_the_figure_says_what_the_surest_half_brings() -> None:
    sure = np.linspace(0.99, 0.3, 20)
    made = sure_figure(coverage_curve(sure, np.arange(20) < 10), 0.6)
    assert made is not None and "Of all answers 50% are right; of the surest half 100%." in made.svg


def test_too_few_answers_are_not_drawn() -> None:
    assert sure_figure(coverage_curve([0.5], [True]), 0.0) is None
    assert sure_figure(coverage_curve([0.5, 0.5, 0.5], [True, False, True]), 0.0) is None  # all as sure as one another
