"""Winners, intervals and slopes from rows that are made up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from fewtune.studies.mamf.cell import SCHEMA
from fewtune.studies.mamf.run import Ran
from fewtune.studies.mamf.summary import summarise, to_json
from fewtune.tasks import coverage
from tests.unit.studies.mamf_grounds import small_settings

SEEDS = (0, 1, 2, 3)
PLACE = {"zero-shot": 0, "classical": 1, "FOMAML": 2, "MAMF": 3}
NOISE = np.random.default_rng(0).normal(size=(4, 9, 4, 3))
Value = Callable[[str, int, int, int], float]


def made(value: Value, ways: tuple[int, ...] = (2, 3, 4, 5), seeds: tuple[int, ...] = SEEDS) -> Ran:
    """Rows whose value is a function of (method, N, seed, episode), three episodes each."""
    rows = [
        {"part": "test", "ways": n, "seed": seed, "method": method, "episode": e, "value": value(method, n, seed, e)}
        for n in ways
        for seed in seeds
        for method in PLACE
        for e in range(3)
    ]
    same = {
        "cell": "",
        "data": "d",
        "kind": "grid",
        "tasks": 7,
        "classes": 6,
        "rows": 8,
        "spec": "",
        "loss": 0.0,
        "seconds": 0.0,
        "visits": 1,
    }
    return Ran(pa.Table.from_pylist([{**same, **row} for row in rows], schema=SCHEMA), (), (), (), small_settings(seeds=seeds), "")


def noisy(method: str, n: int, seed: int, e: int) -> float:
    level = {"zero-shot": 0.3, "classical": 0.5, "FOMAML": 0.5, "MAMF": 0.52 if n == 2 else 0.9}[method]
    return level + 0.04 * float(NOISE[PLACE[method], n, seed, e])


def means(method: str, n: int) -> list[float]:
    return [float(np.mean([noisy(method, n, seed, e) for e in range(3)])) for seed in SEEDS]


def expected(values: list[float]) -> tuple[float, float, float]:
    """(mean, low, high) of scipy's t interval."""
    return (float(np.mean(values)), *map(float, stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))))


def test_means_and_intervals_are_over_seeds() -> None:
    spot = summarise(made(noisy)).grid()[1]
    line = spot.line("FOMAML")
    assert line is not None and spot.ways == 3
    assert (line.mean, line.interval.low, line.interval.high) == pytest.approx(expected(means("FOMAML", 3)))
    assert spot.covered == coverage(6, 3, 7)


def test_a_winner_is_sure_only_where_every_paired_interval_lies_above_0() -> None:
    first, *others = summarise(made(noisy)).grid()
    assert [(spot.ways, spot.winner, spot.sure) for spot in others] == [(n, "MAMF", True) for n in (3, 4, 5)]
    lows = [expected(np.subtract(means(first.winner, 2), means(other, 2)).tolist())[1] for other in PLACE if other != first.winner]
    assert min(lows) < 0 < max(lows) and not first.sure  # three methods are close, zero-shot is far below
    assert first.margin is not None and 0 in first.margin


def test_pairs_do_not_count_how_seeds_differ() -> None:
    """All methods move together from seed to seed by far more than they differ: the winner is sure."""
    shift = {0: -0.3, 1: 0.1, 2: 0.3, 3: 0.0}
    gap = {"zero-shot": 0.0, "classical": 0.01, "FOMAML": 0.02, "MAMF": 0.05}
    summary = summarise(made(lambda m, n, seed, e: 0.5 + shift[seed] + gap[m] + 0.001 * float(NOISE[PLACE[m], n, seed, e])))
    assert all(spot.sure and spot.winner == "MAMF" for spot in summary.grid())
    gain = summary.difference("MAMF", "classical")
    assert gain is not None and gain.mean == pytest.approx(0.04, abs=0.002) and gain.half_width < 0.005


def test_slopes_are_least_squares_of_each_seed() -> None:
    def value(method: str, n: int, seed: int, e: int) -> float:  # noqa: ARG001
        zero = 0.2 + 0.1 * n + 0.02 * float(NOISE[0, n, seed, 0])
        return zero if method == "zero-shot" else {"classical": 0.5, "FOMAML": 0.1 + (0.8 + 0.05 * seed) * zero, "MAMF": 0.6}[method]

    first, *others = summarise(made(value)).trends
    assert (first.method, first.other) == ("FOMAML", "MAMF") and {t.other for t in others} == {"classical"}
    slopes = []
    for seed in SEEDS:
        x = [value("zero-shot", n, seed, 0) for n in (2, 3, 4, 5)]
        slopes.append(float(np.polyfit(x, [value("FOMAML", n, seed, 0) - 0.6 for n in (2, 3, 4, 5)], 1)[0]))
    assert slopes == pytest.approx([0.8, 0.85, 0.9, 0.95])
    assert (first.slope.mean, first.slope.low, first.slope.high) == pytest.approx(expected(slopes))


def test_with_two_seeds_the_tasks_are_counted_and_slopes_have_no_bounds() -> None:
    ran = made(noisy, seeds=(0, 1))
    summary = summarise(ran)
    line = summary.grid()[0].line("MAMF")
    assert line is not None and line.interval.n == 6 and np.isnan(summary.trends[0].slope.low)
    assert to_json(summary, ran)["gain_on_zero_shot"][0]["slope"]["low"] is None
