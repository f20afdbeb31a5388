"""From rows to claims: means, intervals over episodes and over seeds, paired tests, ranks, and what they are conditional on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.evaluation.result import Result
from fewtune.statistics import (
    Interval,
    average_ranks,
    episodes_needed,
    holm,
    normal_interval,
    paired_interval,
    reuse_sentence,
    seeds_interval,
    sign_flip_test,
    wilcoxon_test,
)
from fewtune.tasks.episodes import Episodes

LEVEL = 0.95
WANTED_HALF_WIDTH = 0.005

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True)
class Line:
    """One method in one setting. `p` and `wilcoxon` compare it with the best method of the setting, Holm-adjusted; NaN for the best one.

    `interval` is over `n` episodes (the mean of a method's training runs on each), `over_seeds` over the means of training seeds, or of
    episode seeds where it was trained once (None with one seed). `difference`: to the best, paired on the episodes that all methods
    answered.
    `winner`: it is the best and every other method differs from it (sign-flip, adjusted p < .05).
    """

    method: str
    setting: int
    ways: str
    shots: str
    mean: float
    sd: float
    loss: float
    n: int
    interval: Interval
    over_seeds: Interval | None
    difference: Interval | None
    p: float
    wilcoxon: float
    winner: bool


@final
@dataclass(frozen=True)
class Summary:
    """`lines` in order of settings and methods; `ranks` by method over all settings (1 is best), where there are several."""

    lines: tuple[Line, ...]
    ranks: Mapping[str, float]
    notes: tuple[str, ...]


def summarise(result: Result, drawn: Mapping[tuple[int, int], Episodes], items: str) -> Summary:
    """Everything that may be claimed from a result. `items` names the rows ("images", "texts") in remarks."""
    methods = result.distinct("method")
    lines: list[Line] = []
    for setting in result.distinct("setting"):
        lines += _setting(result.where(setting=setting), methods, setting)
    means = np.array([[line.mean for line in lines if line.method == m] for m in methods])
    several = len(methods) > 1 and means.shape[1] > 1
    ranks = dict(zip(methods, average_ranks(means).tolist(), strict=True)) if several else {}
    return Summary(tuple(lines), ranks, tuple(_notes(lines, drawn, items)))


def _setting(result: Result, methods: list[str], setting: int) -> list[Line]:
    rows = {m: result.where(method=m) for m in methods}
    answered = {m: _episodes(rows[m]) for m in methods}
    common = set.intersection(*(set(a.values) for a in answered.values()))
    shared = {m: np.array([a.values[place] for place in sorted(common)]) for m, a in answered.items()}
    best = max(methods, key=lambda m: shared[m].mean())
    others = [m for m in methods if m != best]
    flips, signed = _adjusted(shared, best, others)
    won = bool(others) and all(p < 1 - LEVEL for p in flips.values())
    return [
        Line(
            method=m,
            setting=setting,
            ways=rows[m].distinct("ways")[0],
            shots=rows[m].distinct("shots")[0],
            mean=float(answered[m].mean.mean()),
            sd=float(answered[m].mean.std(ddof=1)) if len(answered[m].mean) > 1 else float("nan"),
            loss=float(rows[m].column("loss").mean()),
            n=len(answered[m].mean),
            interval=normal_interval(answered[m].mean, LEVEL),
            over_seeds=_over_seeds(rows[m]),
            difference=None if m == best else paired_interval(shared[m] - shared[best]),
            p=flips.get(m, float("nan")),
            wilcoxon=signed.get(m, float("nan")),
            winner=won and m == best,
        )
        for m in methods
    ]


@final
@dataclass(frozen=True, eq=False)
class _Episodes:
    """A method's accuracy on each episode (seed, number), the mean over its training runs."""

    values: Mapping[tuple[int, int], float]

    @property
    def mean(self) -> Floats:
        return np.array(list(self.values.values()))


def _episodes(rows: Result) -> _Episodes:
    places = list(zip(rows.column("seed").tolist(), rows.column("episode").tolist(), strict=True))
    runs: dict[tuple[int, int], list[float]] = {}
    for place, value in zip(places, rows.column("value").tolist(), strict=True):
        runs.setdefault(place, []).append(value)
    return _Episodes({place: float(np.mean(values)) for place, values in runs.items()})


def _over_seeds(rows: Result) -> Interval | None:
    """Over training seeds where there are several, else over the seeds of the episodes; None with one of each."""
    for column in ("training", "seed"):
        if len(rows.distinct(column)) > 1:
            return seeds_interval(rows.column("value"), rows.column(column))
    return None


def _adjusted(values: Mapping[str, Floats], best: str, others: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Holm-adjusted sign-flip and Wilcoxon p values of every other method against the best, on the same episodes."""
    if not others:
        return {}, {}
    differences = [values[best] - values[m] for m in others]
    flips, signed = holm([sign_flip_test(d) for d in differences]), holm([wilcoxon_test(d) for d in differences])
    return dict(zip(others, flips.tolist(), strict=True)), dict(zip(others, signed.tolist(), strict=True))


def _notes(lines: list[Line], drawn: Mapping[tuple[int, int], Episodes], items: str) -> list[str]:
    notes = ["Intervals: 95%, over episodes. p: paired sign-flip test against the best method of the setting, Holm-adjusted."]
    if any(line.winner for line in lines):
        notes.append("Marked: better than every other method of its setting (p < .05).")
    elif len({line.method for line in lines}) > 1:
        notes.append("No method is marked: none is better than every other one of its setting (p < .05).")
    most = max((line.n for line in lines), default=0)
    for few in sorted({line.n for line in lines if line.n < most}):
        named = ", ".join(dict.fromkeys(line.method for line in lines if line.n == few))
        notes.append(
            f"On the first {few} of {most} episodes, for weights are moved on each of them: {named}. Differences are paired on those."
        )
    settings = sorted({setting for setting, _ in drawn})
    for setting in settings:
        query = np.concatenate([e.query.numpy().reshape(-1) for (s, _), e in drawn.items() if s == setting])
        said = reuse_sentence(query[None], items)
        if said is not None:
            notes.append(said if len(settings) == 1 else f"{_name(lines, setting)}: {said}")
            if len(settings) > 1:
                break  # the same rows serve every setting; once is enough
    widest = max((line for line in lines if line.n > 1), key=lambda line: line.sd, default=None)
    if widest is not None and widest.interval.half_width > WANTED_HALF_WIDTH:
        needed = episodes_needed(widest.sd, WANTED_HALF_WIDTH)
        notes.append(f"An interval of +- {100 * WANTED_HALF_WIDTH:.1f} points for every line would take {needed:,} episodes.")
    return notes


def _name(lines: list[Line], setting: int) -> str:
    line = next(line for line in lines if line.setting == setting)
    return f"{line.ways}-way {line.shots}-shot"
