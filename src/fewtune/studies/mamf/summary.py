"""From the rows of the grid to claims: means with intervals over seeds, who wins where, and gain against zero-shot accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from fewtune.statistics import Interval, paired_interval, t_interval
from fewtune.studies.mamf.lines import CLASSICAL, FOMAML, MAMF, ZERO_SHOT
from fewtune.studies.mamf.run import Ran
from fewtune.tasks.counted import coverage

LEVEL = 0.95
SEEDS = 3  # below this an interval over seeds says nothing: with two it is thirteen standard errors wide
_KEYS = ("data", "part", "kind", "ways", "tasks")


@final
@dataclass(frozen=True)
class Line:
    """One method in one configuration: its mean accuracy over dev or test tasks, with the interval over seeds (with fewer than three
    seeds over all tasks). `by_seed`: the mean of each seed, in the order of the seeds. `visits`: rows that a training run looked at."""

    method: str
    interval: Interval
    by_seed: tuple[float, ...]
    visits: int

    @property
    def mean(self) -> float:
        return self.interval.mean


@final
@dataclass(frozen=True)
class Spot:
    """One configuration: `lines` in the order of the methods, the `winner` and its least gain over any other line (`margin`).

    `sure`: whether the paired interval of the winner against every other method lies above 0. `covered`: the probability that T tasks of N
    of M classes hold all of them.
    """

    data: str
    part: str
    kind: str
    ways: int
    tasks: int
    classes: int
    lines: tuple[Line, ...]
    winner: str
    margin: Interval | None
    sure: bool
    covered: float

    def line(self, method: str) -> Line | None:
        return next((line for line in self.lines if line.method == method), None)


@final
@dataclass(frozen=True)
class Trend:
    """A straight line through the configurations of the grid: gain of `method` over `other` = `level` + `slope` x zero-shot accuracy.

    `slope` with its interval over seeds, each fitted alone. `points`: (zero-shot accuracy, gain) of each configuration, means over seeds.
    """

    method: str
    other: str
    slope: Interval
    level: float
    points: tuple[tuple[float, float], ...]


@final
@dataclass(frozen=True)
class Summary:
    """Everything that may be claimed. `ratios`: by collection, N and method, within- over between-class variance over seeds."""

    spots: tuple[Spot, ...]
    trends: tuple[Trend, ...]
    ratios: Mapping[tuple[str, int, str], Interval]
    seeds: int

    def grid(self, data: str | None = None, part: str | None = None) -> list[Spot]:
        """The configurations of the grid."""
        return [s for s in self.spots if s.kind == "grid" and data in (None, s.data) and part in (None, s.part)]

    def difference(self, method: str, other: str, part: str = "test") -> Interval | None:
        """Mean accuracy over the configurations of the grid, one method minus another; the interval is over seeds. None where one of them
        is in no configuration."""
        pairs = [(spot.line(method), spot.line(other)) for spot in self.grid(part=part)]
        each = [np.subtract(a.by_seed, b.by_seed) for a, b in pairs if a is not None and b is not None]
        return _interval(np.mean(each, axis=0).tolist()) if each else None

    @property
    def methods(self) -> list[str]:
        """Every method of the grid, in order."""
        return list(dict.fromkeys(line.method for spot in self.grid() for line in spot.lines))


def summarise(ran: Ran) -> Summary:
    """The claims of a study that has run."""
    columns = {name: ran.rows[name].to_pylist() for name in ran.rows.schema.names}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, place in enumerate(zip(*(columns[name] for name in _KEYS), strict=True)):
        groups.setdefault(place, []).append(row)
    spots = tuple(_spot(place, rows, columns, ran.settings.seeds) for place, rows in groups.items())
    found: dict[tuple[str, int, str], list[float]] = {}
    for data, ways, _, method, ratio in ran.ratios:
        found.setdefault((data, ways, method), []).append(ratio)
    ratios = {place: _interval(values) for place, values in found.items()}
    return Summary(spots, _trends(spots), ratios, len(ran.settings.seeds))


def _spot(place: tuple[Any, ...], rows: Sequence[int], columns: Mapping[str, list[Any]], seeds: Sequence[int]) -> Spot:
    data, part, kind, ways, tasks = place
    values: dict[str, dict[int, list[float]]] = {}
    visits: dict[str, list[int]] = {}
    for row in rows:
        values.setdefault(columns["method"][row], {}).setdefault(columns["seed"][row], []).append(columns["value"][row])
        visits.setdefault(columns["method"][row], []).append(columns["visits"][row])
    lines = []
    for method, by_seed in values.items():
        means = tuple(float(np.mean(by_seed[seed])) for seed in seeds)
        over = t_interval(means if len(seeds) >= SEEDS else _all(by_seed, seeds), LEVEL)
        lines.append(Line(method, over, means, round(float(np.mean(visits[method])))))
    best = max(lines, key=lambda line: line.mean)
    margins = [_margin(values[best.method], values[line.method], seeds) for line in lines if line is not best]
    least = min(margins, key=lambda margin: margin.mean, default=None)
    classes = columns["classes"][rows[0]]
    sure = bool(margins) and all(margin.low > 0 for margin in margins)
    return Spot(data, part, kind, ways, tasks, classes, tuple(lines), best.method, least, sure, coverage(classes, ways, tasks))


def _margin(best: Mapping[int, list[float]], other: Mapping[int, list[float]], seeds: Sequence[int]) -> Interval:
    """The paired difference: over seeds, which each train and draw anew; with fewer than three seeds over all tasks."""
    if len(seeds) < SEEDS:
        return paired_interval(np.subtract(_all(best, seeds), _all(other, seeds)), LEVEL)
    return paired_interval([float(np.mean(best[seed]) - np.mean(other[seed])) for seed in seeds], LEVEL)


def _all(by_seed: Mapping[int, list[float]], seeds: Sequence[int]) -> list[float]:
    return [value for seed in seeds for value in by_seed[seed]]


def _trends(spots: Sequence[Spot]) -> tuple[Trend, ...]:
    """Gain on zero-shot accuracy: of FOMAML over MAMF, and of each method over classical finetuning."""
    grid = [spot for spot in spots if spot.kind == "grid"]
    methods = list(dict.fromkeys(line.method for spot in grid for line in spot.lines))
    pairs = [(FOMAML, MAMF), *((method, CLASSICAL) for method in methods if method not in (ZERO_SHOT, CLASSICAL))]
    return tuple(trend for pair in pairs if (trend := _trend(grid, *pair)) is not None)


def _trend(grid: Sequence[Spot], method: str, other: str) -> Trend | None:
    found = [(spot.line(ZERO_SHOT), spot.line(method), spot.line(other)) for spot in grid]
    known = [(a, b, c) for a, b, c in found if a is not None and b is not None and c is not None]
    if len(known) < 3:
        return None
    x = np.array([a.by_seed for a, _, _ in known])  # [configurations, seeds]
    y = np.array([np.subtract(b.by_seed, c.by_seed) for _, b, c in known])
    slopes = [_slope(x[:, seed], y[:, seed]) for seed in range(x.shape[1])]
    if any(math.isnan(slope) for slope in slopes):
        return None
    mean_x, mean_y = x.mean(1), y.mean(1)
    slope = _interval(slopes)
    level = float(mean_y.mean() - slope.mean * mean_x.mean())
    return Trend(method, other, slope, level, tuple(zip(mean_x.tolist(), mean_y.tolist(), strict=True)))


def _slope(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """The least-squares slope; NaN where x does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ y) / spread if spread > 0 else math.nan


def _interval(values: Sequence[float]) -> Interval:
    """Over seeds; no bounds with fewer than three."""
    found = t_interval(values, LEVEL)
    return found if len(values) >= SEEDS else replace(found, low=math.nan, high=math.nan)


def to_json(summary: Summary, ran: Ran) -> dict[str, Any]:
    """The claims as plain values. NaN bounds (one seed, one task) are null."""

    def plain(interval: Interval | None) -> Any:
        if interval is None:
            return None
        low, high = (None if math.isnan(v) else v for v in (interval.low, interval.high))
        return {"mean": interval.mean, "low": low, "high": high, "n": interval.n}

    spots = [
        {
            **{name: getattr(spot, name) for name in (*_KEYS, "classes", "winner", "sure", "covered")},
            "margin": plain(spot.margin),
            "methods": {line.method: {**plain(line.interval), "by_seed": list(line.by_seed), "visits": line.visits} for line in spot.lines},
        }
        for spot in summary.spots
    ]
    trends = [
        {"method": t.method, "over": t.other, "slope": plain(t.slope), "level": t.level, "points": [list(p) for p in t.points]}
        for t in summary.trends
    ]
    ratios = [
        {"data": data, "ways": ways, "method": method, **plain(interval)} for (data, ways, method), interval in summary.ratios.items()
    ]
    return {"seeds": list(ran.settings.seeds), "configurations": spots, "gain_on_zero_shot": trends, "variance_ratio": ratios}
