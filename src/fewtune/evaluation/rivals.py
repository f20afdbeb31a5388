"""Each method of a setting against the best one: on the episodes that the two share, with all their training runs.

Methods that answered fewer episodes are compared with the others, but change nothing between them: the best one that all are compared with
is one of those that answered the most episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.evaluation.result import UNTRAINED, Result
from fewtune.statistics import Interval, adjust_against_best, paired_interval, runs_difference, sign_flip_test, wilcoxon_test

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Answered:
    """A method's accuracies [R, E] by training run, on episodes `place` [E] of (seed, number); `learns`: from a source."""

    scores: Floats
    place: tuple[tuple[int, int], ...]
    learns: bool

    @property
    def runs(self) -> int:
        """How often it was trained; 0 where there is nothing to train."""
        return len(self.scores) if self.learns else 0


def answered_by(rows: Result) -> Answered:
    """What the rows of one method in one setting hold."""
    runs = rows.distinct("training")
    found: dict[tuple[int, int], dict[int, float]] = {}
    columns = [rows.column(name).tolist() for name in ("seed", "episode", "training", "value")]
    for seed, episode, training, value in zip(*columns, strict=True):
        found.setdefault((seed, episode), {})[training] = value
    scores = np.array([[values[run] for values in found.values()] for run in runs], dtype=np.float64)
    return Answered(scores, tuple(found), learns=runs != [UNTRAINED])


def _shared(a: Answered, b: Answered) -> tuple[Floats, Floats]:
    """The scores of both on the episodes that both answered."""
    mine, other = ({place: i for i, place in enumerate(one.place)} for one in (a, b))
    common = [place for place in a.place if place in other]
    return a.scores[:, [mine[place] for place in common]], b.scores[:, [other[place] for place in common]]


def means_on_shared(answered: Mapping[str, Answered]) -> dict[str, float]:
    """The mean of each method on the episodes that all of them answered."""
    common = set.intersection(*(set(one.place) for one in answered.values()))
    return {m: float(a.scores.mean(0)[[place in common for place in a.place]].mean()) for m, a in answered.items()}


def best_of(answered: Mapping[str, Answered]) -> str:
    """The method with the highest mean; one that answered fewer episodes is compared on these, so that it never turns the others about."""
    order = sorted(answered, key=lambda m: -len(answered[m].place))
    best = order[0]
    for m in order[1:]:
        a, b = _shared(answered[m], answered[best])
        if (a.mean(0) - b.mean(0)).mean() > 0:
            best = m
    return best


@final
@dataclass(frozen=True)
class Pair:
    """A method against the best one: its scores minus the best one's, and the p values of the two alone; NaN where they are not known."""

    difference: Interval | None
    p: float
    wilcoxon: float


NO_PAIR = Pair(None, float("nan"), float("nan"))


def against(method: Answered, best: Answered, level: float = 0.95) -> Pair:
    """A method and the best one on the episodes that both answered."""
    a, b = _shared(method, best)
    differences = a.mean(0) - b.mean(0)
    if 1 in (method.runs, best.runs):  # trained once: what another run gives is not known
        return Pair(paired_interval(differences, level), float("nan"), float("nan"))
    if method.learns or best.learns:
        return Pair(*runs_difference(a, b, level), float("nan"))
    return Pair(paired_interval(differences, level), sign_flip_test(differences), wilcoxon_test(differences))


def adjusted(p_values: list[float]) -> list[float]:
    """Adjusted for having picked the best; what is not known stays so, and counts as a rival all the same."""
    known = np.array(p_values)
    counted = adjust_against_best(np.where(np.isnan(known), 1.0, known))
    found: list[float] = np.where(np.isnan(known), np.nan, counted).tolist()
    return found


@final
@dataclass(frozen=True)
class Compared:
    """A setting compared. `best`: the method that every other one is compared with. `pairs`: the others against it. `p` and `wilcoxon`: of
    each, adjusted for having picked the best. `winner`: the method that is better than every other one (p < 1 - level), or None."""

    best: str
    pairs: Mapping[str, Pair]
    p: Mapping[str, float]
    wilcoxon: Mapping[str, float]
    winner: str | None


def compared(answered: Mapping[str, Answered], level: float = 0.95) -> Compared:
    """All methods of a setting.

    The p values of those that answered the most episodes count these alone, so a method on fewer episodes changes none of them. The p of
    one on fewer counts all. The winner may be any of them: where it answered fewer episodes, it is compared with every other one on those.
    """
    most = max(len(a.place) for a in answered.values())
    whole = {m: a for m, a in answered.items() if len(a.place) == most}
    best = best_of(whole)
    pairs = {m: against(a, answered[best], level) for m, a in answered.items() if m != best}
    p, wilcoxon = ({m: float("nan") for m in pairs} for _ in range(2))
    for found, kind in ((p, "p"), (wilcoxon, "wilcoxon")):
        for family in (list(pairs), [m for m in pairs if m in whole]):  # those on all episodes last: their family is smaller
            found.update(zip(family, adjusted([getattr(pairs[m], kind) for m in family]), strict=True))
    return Compared(best, pairs, p, wilcoxon, _winner(answered, level))


def _winner(answered: Mapping[str, Answered], level: float) -> str | None:
    top = best_of(answered)
    p = adjusted([against(a, answered[top], level).p for m, a in answered.items() if m != top])
    return top if p and all(value < 1 - level for value in p) else None
