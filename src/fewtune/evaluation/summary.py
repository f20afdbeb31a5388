"""From rows to claims: means, intervals over episodes and over seeds, paired tests, ranks, and what they are conditional on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.evaluation.result import Result
from fewtune.evaluation.rivals import NO_PAIR, answered_by, compared, means_on_shared
from fewtune.statistics import (
    Interval,
    average_ranks,
    episodes_needed,
    normal_interval,
    reuse_sentence,
    seeds_interval,
    t_interval,
)
from fewtune.tasks.episodes import Episodes
from fewtune.words import option

LEVEL = 0.95
WANTED_HALF_WIDTH = 0.005
FEW = 30  # episodes below which the interval is that of Student: of 5 splits the normal one covers 88%, not 95

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True)
class Line:
    """One method in one setting, `runs` times trained (0: there is nothing to train).

    `interval`: of the mean, over `n` episodes (the mean of a method's training runs on each), by t where they are few. `over_seeds`: over
    the means of training seeds, or of episode seeds where it was trained once (None with one seed).
    What follows compares the line with the best one of those on the most episodes, on the episodes that the two share. `difference`: this
    one minus the best, None for the best. `alone`: the p of the two by themselves: sign-flip test over episodes, or a t test over training
    runs and episodes where one of them learns from a source. `p`: adjusted for having picked the best of several; lines with fewer
    episodes do not count in the p of lines with more. `wilcoxon`: the same of Wilcoxon's test, for methods that do not learn from a source.
    NaN: for the best one, and where one of the two was trained once, so that it is not known what another run would give.
    `winner`: better than every other method of the setting (p < .05). `shared`: the mean on the episodes that every method of the setting
    answered, by which methods are ranked.
    """

    method: str
    setting: int
    target: str
    backbone: str
    ways: str
    shots: str
    runs: int
    mean: float
    sd: float
    loss: float
    n: int
    interval: Interval
    over_seeds: Interval | None
    difference: Interval | None
    p: float
    alone: float
    wilcoxon: float
    winner: bool
    shared: float
    metric: str = "accuracy"


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
    means = np.array([[line.shared for line in lines if line.method == m] for m in methods])
    several = len(methods) > 1 and means.shape[1] > 1
    ranks = dict(zip(methods, average_ranks(means).tolist(), strict=True)) if several else {}
    return Summary(tuple(lines), ranks, tuple(_notes(lines, drawn, items)))


def _setting(result: Result, methods: list[str], setting: int) -> list[Line]:
    rows = {m: result.where(method=m) for m in methods}
    answered = {m: answered_by(rows[m]) for m in methods}
    found, shared = compared(answered, LEVEL), means_on_shared(answered)
    lines = []
    for m in methods:
        means, pair = answered[m].scores.mean(0), found.pairs.get(m, NO_PAIR)
        lines.append(
            Line(
                method=m,
                setting=setting,
                target=rows[m].distinct("target")[0],
                backbone=rows[m].distinct("backbone")[0],
                ways=rows[m].distinct("ways")[0],
                shots=rows[m].distinct("shots")[0],
                runs=answered[m].runs,
                mean=float(means.mean()),
                sd=float(means.std(ddof=1)) if len(means) > 1 else float("nan"),
                loss=float(rows[m].column("loss").mean()),
                n=len(means),
                interval=(normal_interval if len(means) >= FEW else t_interval)(means, LEVEL),
                over_seeds=_over_seeds(rows[m]),
                difference=pair.difference,
                p=found.p.get(m, float("nan")),
                alone=pair.p,
                wilcoxon=found.wilcoxon.get(m, float("nan")),
                winner=m == found.winner,
                shared=shared[m],
                metric=rows[m].distinct("metric")[0],
            )
        )
    return lines


def _over_seeds(rows: Result) -> Interval | None:
    """Over training seeds where there are several, else over the seeds of the episodes; None with one of each."""
    for column in ("training", "seed"):
        if len(rows.distinct(column)) > 1:
            return seeds_interval(rows.column("value"), rows.column(column))
    return None


def _notes(lines: list[Line], drawn: Mapping[tuple[int, int], Episodes], items: str) -> list[str]:
    notes = [
        "Intervals: 95%, over episodes. p: against the best method of the setting, on the episodes that both answered, adjusted for having "
        "picked the best of several."
    ]
    several = len({line.method for line in lines}) > 1
    if several and any(line.runs > 1 for line in lines):
        notes.append("Where a method learns from a source, p and the difference also count how its training runs differ.")
    if several and (once := [line.method for line in lines if line.runs == 1]):
        named = ", ".join(dict.fromkeys(once))
        notes.append(
            f"Trained once: {named}. How much another training run would differ is not known, so there is no p and no mark: "
            f"give {option('--training-seeds 0 1 2', 'Training(seeds=(0, 1, 2))')} or more."
        )
    if any(line.winner for line in lines):
        notes.append("Marked: better than every other method of its setting (p < .05).")
    elif several:
        notes.append("No method is marked: none is better than every other one of its setting (p < .05).")
    most = max((line.n for line in lines), default=0)
    for few in sorted({line.n for line in lines if line.n < most}):
        named = ", ".join(dict.fromkeys(line.method for line in lines if line.n == few))
        notes.append(
            f"On the first {few} of {most} episodes, because weights are moved on each of them: {named}. "
            "Their differences are paired on those."
        )
    settings = sorted({setting for setting, _ in drawn})
    seen: set[str] = set()
    for setting in settings:
        target = next(line.target for line in lines if line.setting == setting)
        if target in seen:
            continue  # the rows are the same in every setting of a target; once is enough
        query = np.concatenate([e.query.numpy().reshape(-1) for (s, _), e in drawn.items() if s == setting])
        said = reuse_sentence(query[None], items)
        if said is not None:
            notes.append(said if len(settings) == 1 else f"{_name(lines, setting)}: {said}")
            seen.add(target)
    widest = max((line for line in lines if line.n > 1), key=lambda line: line.sd, default=None)
    if widest is not None and widest.interval.half_width > WANTED_HALF_WIDTH:
        needed = episodes_needed(widest.sd, WANTED_HALF_WIDTH)
        notes.append(f"An interval of +- {100 * WANTED_HALF_WIDTH:.1f} points for every line would take {needed:,} episodes.")
    return notes


def _name(lines: list[Line], setting: int) -> str:
    line = next(line for line in lines if line.setting == setting)
    target = [line.target] if len({x.target for x in lines}) > 1 else []
    backbone = [line.backbone] if len({x.backbone for x in lines}) > 1 else []
    return ", ".join([*target, *backbone, f"{line.ways}-way {line.shots}-shot"])
