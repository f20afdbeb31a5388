"""Rows of the page's tables: sorted, cut to a readable number, with the places of their bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.report.findings import Confused, Confusion, Looked, MethodRow, Similarity
from fewtune.report.page_words import known

MOST_LOOKED = 300
MOST_MISTAKES = 8
SELDOM = 0.5  # rows, a mean over repeats
MOST_CLASSES = 300


@final
@dataclass(frozen=True)
class Bar:
    """Places in percent of a column's width: the interval from `low` to `high`, and the dot."""

    low: float
    middle: float
    high: float

    @property
    def width(self) -> float:
        return round(self.high - self.low, 2)


@final
@dataclass(frozen=True)
class MethodLine:
    """A method and its bar."""

    row: MethodRow
    bar: Bar | None


@final
@dataclass(frozen=True)
class MethodTable:
    """The learners that answered the same `folds`."""

    folds: str
    lines: list[MethodLine]

    @property
    def compared(self) -> bool:
        """Whether there is a chosen one that the others are compared with."""
        return any(line.row.difference for line in self.lines)

    @property
    def kinds(self) -> int:
        """How many kinds of features they learned from."""
        return len({line.row.kind for line in self.lines})


def method_tables(methods: Sequence[MethodRow]) -> list[MethodTable]:
    """A table for each kind of folds, the one with the chosen learner first."""
    folds = dict.fromkeys(m.folds for m in sorted(methods, key=lambda m: not m.chosen))
    return [MethodTable(one, method_rows([m for m in methods if m.folds == one])) for one in folds]


def method_rows(methods: Sequence[MethodRow]) -> list[MethodLine]:
    """The best first, unknown last. All bars share the smallest scale that fits them."""
    ordered = sorted(methods, key=lambda m: (-m.accuracy if known(m.accuracy) else np.inf, not m.chosen))
    ends = [_ends(m) for m in ordered if known(m.accuracy)]
    if not ends:
        return [MethodLine(m, None) for m in ordered]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / span, 2)

    made = []
    for m in ordered:
        bar = None
        if known(m.accuracy):
            least, most = _ends(m)
            bar = Bar(place(least), place(m.accuracy), place(most))
        made.append(MethodLine(m, bar))
    return made


def _ends(m: MethodRow) -> tuple[float, float]:
    if m.interval is None or not (known(m.interval.low) and known(m.interval.high)):
        return m.accuracy, m.accuracy
    return min(m.interval.low, m.accuracy), max(m.interval.high, m.accuracy)


@final
@dataclass(frozen=True)
class TraceLine:
    """A candidate and its number, from 1, in the order in which candidates were considered."""

    number: int
    looked: Looked


def trace_rows(trace: Sequence[Looked]) -> list[TraceLine]:
    """At most 300 candidates, taken ones rather than refused ones, in the order in which they were considered."""
    numbers = sorted(range(len(trace)), key=lambda i: (not trace[i].taken, i))[:MOST_LOOKED]
    return [TraceLine(i + 1, trace[i]) for i in sorted(numbers)]


@final
@dataclass(frozen=True)
class Nearest:
    """A target class and the chosen source class most like it; `alike`: how much, in words ("" where nothing is there to compare with)."""

    target: str
    source_class: str
    source: str
    cosine: float
    alike: str


def nearest(similarity: Similarity) -> list[Nearest]:
    """For each target class the chosen source class most like it, the least covered first."""
    if not similarity.cosine.size:
        return []
    cosine, said = np.nan_to_num(similarity.cosine, nan=-1.0), _in_words(similarity)
    best = cosine.argmax(1)
    made = [
        Nearest(name, similarity.chosen[p], similarity.source[p] if similarity.source else "", float(cosine[k, p]), said(cosine[k, p]))
        for k, (name, p) in enumerate(zip(similarity.target, best.tolist(), strict=True))
    ]
    return sorted(made, key=lambda n: n.cosine)


def _in_words(similarity: Similarity) -> Callable[[float], str]:
    """How similar a cosine is, in words. The steps are the 10%, 50% and 90% quantiles of the cosines between the target's own classes."""
    own = similarity.own[np.triu_indices(len(similarity.own), 1)]
    if not len(own):
        return lambda _: ""
    steps = np.quantile(own, [0.1, 0.5, 0.9])
    return lambda cosine: ("unlike", "somewhat alike", "alike", "very alike")[int((cosine >= steps).sum())]


@final
@dataclass(frozen=True)
class ClassLine:
    """A class: its answers, the share that was right, and what it is most often taken for ("" for nothing)."""

    name: str
    answers: float
    recall: float
    taken_for: str


def class_rows(confusion: Confusion) -> list[ClassLine]:
    """Every class, the lowest recall first, unknown last; at most 300."""
    counts = np.nan_to_num(confusion.counts)
    total = counts.sum(1)
    lines = []
    for k, name in enumerate(confusion.class_names):
        wrong = counts[k].copy()
        wrong[k] = 0
        taken = confusion.class_names[int(wrong.argmax())] if wrong.max(initial=0) > 0 else ""
        lines.append(ClassLine(name, float(total[k]), float(counts[k, k] / total[k]) if total[k] else float("nan"), taken))
    return sorted(lines, key=lambda line: line.recall if known(line.recall) else 2.0)[:MOST_CLASSES]


@final
@dataclass(frozen=True)
class Mistake:
    """A bad cell: how often (a count, and the share of the true class), and rows to look at."""

    true: str
    predicted: str
    count: float
    share: float
    examples: Confused | None


def mistakes(confusion: Confusion) -> list[Mistake]:
    """The cells with the most mistakes. Rare mistakes are left out if there are others."""
    counts = np.nan_to_num(np.asarray(confusion.counts, dtype=np.float64))
    shown = {(c.true, c.predicted): c for c in confusion.examples if c.examples}
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong.ravel(), kind="stable")[:MOST_MISTAKES]
    cells = [divmod(int(i), len(counts)) for i in order if wrong.ravel()[i] > 0]
    cells = sorted(dict.fromkeys([*cells, *shown]), key=lambda cell: -wrong[cell])
    cells = [cell for cell in cells if wrong[cell] >= SELDOM] or cells[:1]
    total = counts.sum(1)
    names = confusion.class_names
    return [
        Mistake(names[t], names[p], float(wrong[t, p]), float(wrong[t, p] / total[t]) if total[t] else float("nan"), shown.get((t, p)))
        for t, p in cells
    ]
