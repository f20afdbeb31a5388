"""What is said of the groups of a run that were put back to their start."""

from __future__ import annotations

from collections.abc import Mapping

from fewtune.report.transferred import sentences
from fewtune.statistics.intervals import Interval
from fewtune.studies.transferred.compare import Judged, Transferred


def said(drops: Mapping[str, tuple[float, float, float]]) -> list[str]:
    each = {title: Interval(mean, low, high, 0.95, 100, "paired t") for title, (mean, low, high) in drops.items()}
    run = Judged("near", Interval(0.5, 0.4, 0.6, 0.95, 100, "wilson"), 0.0, {}, {}, {}, each, None)
    return sentences(Transferred("more", 100, (run,), (), ()))


def test_the_group_that_costs_most_of_those_shown_to_matter() -> None:
    """Not the one whose mean is larger, but which may be nothing."""
    assert said({"a": (0.01, 0.005, 0.015), "b": (0.035, 0.01, 0.06), "c": (0.05, -0.01, 0.11)}) == [
        "In near, b matters most: put back to its start, accuracy falls by 3.5 points (1.0 to 6.0)."
    ]


def test_where_no_group_is_shown_to_matter() -> None:
    assert said({"a": (0.01, -0.01, 0.03), "b": (0.035, -0.008, 0.078)}) == [
        "In near, no group alone is shown to matter: to put b back to its start costs most, 3.5 points (-0.8 to 7.8) of accuracy."
    ]
    assert said({"a": (-0.005, -0.015, 0.005)}) == [
        "In near, a is not shown to matter: to put it back to its start costs -0.5 points (-1.5 to 0.5) of accuracy."
    ]
    assert said({}) == []
