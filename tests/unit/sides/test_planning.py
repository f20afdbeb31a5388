"""Minutes become runs: whole folds, or nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fewtune.sides import planning
from fewtune.sides.planning import Plan, planned, seconds_a_run, settings_within


@pytest.mark.parametrize(
    ("seconds", "repeats"),
    [(0.0, 0), (55.0, 0), (56.0, 1), (99.0, 1), (101.0, 2), (1e6, 2), (math.inf, 2)],
)
def test_time_for_the_folds_and_a_run_on_all_labels(seconds: float, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes ten seconds: 50 for four folds and the last run, of which nine tenths of the time may be planned; 40 more a repeat."""
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert planned(SimpleNamespace(), seconds) == Plan(repeats, 10.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "repeats"), [(55.0, 0), (56.0, 1), (299.0, 1), (301.0, 2), (math.inf, 2)])
def test_a_second_repeat_leaves_time_for_other_methods(seconds: float, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two others wait: the first repeat may take all of the time, the second only a third."""
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert planned(SimpleNamespace(), seconds, 0, 2) == Plan(repeats, 10.0)  # type: ignore[arg-type]


def test_so_many_repeats_as_are_asked_for_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert [planned(SimpleNamespace(), s, 3) for s in (0.0, math.inf)] == [Plan(3, 10.0)] * 2  # type: ignore[arg-type]


def test_the_fewest_runs_that_tell_anything() -> None:
    assert Plan(0, 30.0).minutes == pytest.approx(2.5 / 0.9)  # a tenth of the time is left for the rest


@pytest.mark.parametrize(
    ("seconds", "settings"), [(0.0, 0), (277.0, 0), (278.0, 2), (388.0, 2), (389.0, 3), (611.0, 4), (612.0, 5), (math.inf, 5)]
)
def test_settings_that_the_time_allows(seconds: float, settings: int) -> None:
    """Five makings with two runs a setting and one more each, of ten seconds; nine tenths of the time may be planned."""
    assert settings_within(seconds, 10.0, 5, 10, 5) == settings


class Timed:
    """A tuner of which the first run costs 9 seconds once, every run 2 seconds, and every step 3; `of_steps` is for each phase."""

    def __init__(self, steps: int, phases: int = 1) -> None:
        self.steps, self.phases, self.now, self.ran = steps, phases, 0.0, list[int]()
        self.target: Any = SimpleNamespace(support=np.arange(5))

    def of_steps(self, steps: int) -> Any:
        def made(rows: Any) -> None:
            assert len(rows) == 5
            self.now += (0 if self.ran else 9) + 2 + 3 * min(steps * self.phases, self.steps)
            self.ran.append(steps)

        return SimpleNamespace(made=made)


@pytest.mark.parametrize(("steps", "phases"), [(4, 1), (60, 1), (1000, 1), (160, 2)])
def test_the_time_of_a_run_is_that_of_its_steps_without_what_all_runs_share(
    steps: int, phases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner = Timed(steps, phases)
    monkeypatch.setattr(planning.time, "monotonic", lambda: tuner.now)
    assert seconds_a_run(tuner) == pytest.approx(2 + 3 * steps)  # type: ignore[arg-type]
    assert max(tuner.ran) < 10  # a look, not a run
