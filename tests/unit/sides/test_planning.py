"""Minutes become runs: whole folds, or nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fewtune.sides import planning
from fewtune.sides.clock import AT_ONCE, Turn
from fewtune.sides.planning import Plan, planned, seconds_a_run, settings_within

ANY: Any = SimpleNamespace(target=SimpleNamespace(support=np.arange(8)), batch=8)


@pytest.mark.parametrize(
    ("seconds", "repeats"),
    [(0.0, 0), (55.0, 0), (56.0, 1), (99.0, 1), (101.0, 2), (1e6, 2), (math.inf, 2)],
)
def test_time_for_the_folds_and_a_run_on_all_labels(seconds: float, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes ten seconds: 50 for four folds and the last run, of which nine tenths of the time may be planned; 40 more a repeat."""
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert planned(ANY, seconds) == Plan(repeats, 10.0)


@pytest.mark.parametrize(("seconds", "repeats"), [(55.0, 0), (56.0, 1), (299.0, 1), (301.0, 2), (math.inf, 2)])
def test_a_second_repeat_leaves_time_for_other_methods(seconds: float, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two others wait: the first repeat may take all of the time, the second only a third."""
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert planned(ANY, seconds, 0, 2) == Plan(repeats, 10.0)


def test_so_many_repeats_as_are_asked_for_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "seconds_a_run", lambda _: 10.0)
    assert [planned(ANY, s, 3) for s in (0.0, math.inf)] == [Plan(3, 10.0)] * 2


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


class Rows:
    """A tuner of 60 rows in batches of 32: a run takes a second for each row of a batch, and half a second for each row there is."""

    def __init__(self, rows: Any = None) -> None:
        self.target: Any = SimpleNamespace(support=np.arange(100, 160) if rows is None else rows)
        self.batch = 32

    def of_rows(self, rows: Any) -> Rows:
        return Rows(rows)

    @property
    def seconds(self) -> float:
        count = len(self.target.support)
        return min(count, self.batch) + count / 2


@pytest.mark.parametrize(
    ("seconds", "repeats", "took", "found", "looked"),
    [
        (66.0, 0, 7.0, Plan(0, 48.0), [8]),  # five runs of 8 rows take 60 seconds, nine tenths of 66.7
        (66.0, 0, 6.0, Plan(0, 62.0), [8, 60]),  # a short look
        (67.0, 0, 7.0, Plan(0, 62.0), [8, 60]),
        (345.0, 0, 99.0, Plan(1, 62.0), [8, 60]),
        (math.inf, 0, 99.0, Plan(2, 62.0), [60]),
        (1.0, 3, 99.0, Plan(3, 62.0), [60]),
    ],
)
def test_no_more_is_measured_where_a_few_rows_take_too_long(
    seconds: float, repeats: int, took: float, found: Plan, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are spread over all rows; the time that is said is that of a batch of such rows."""
    seen: list[Any] = []

    def seconds_a_run(tuner: Rows) -> float:
        seen.append(tuner.target.support)
        return tuner.seconds

    monkeypatch.setattr(planning.time, "monotonic", lambda: took * len(seen))

    monkeypatch.setattr(planning, "seconds_a_run", seconds_a_run)
    assert planned(Rows(), seconds, repeats) == found  # type: ignore[arg-type]
    assert [len(rows) for rows in seen] == looked
    assert looked[0] != 8 or (seen[0][0], seen[0][-1]) == (100, 159)


def test_the_minutes_that_are_said_leave_enough_after_own_labels_took_their_part() -> None:
    """Of 110 seconds 10 are gone when own labels begin and 40 when they end: 60 are left. What they took already may be more than that."""
    turn = Turn(before=0.4, began=10.0)
    assert (turn.enough(30.0, 60.0), turn.enough(80.0, 60.0), AT_ONCE.enough(30.0, 60.0)) == (110.0, 140.0, 90.0)
