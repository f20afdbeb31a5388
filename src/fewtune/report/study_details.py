"""What a page of a comparison shows beside its table: accuracy by class and by group, and how often two methods err on the same queries."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.outline import Outline
from fewtune.evaluation.study import Bench
from fewtune.report.tables import Cell, Table
from fewtune.transfer.agreement import error_agreement

MOST_CLASSES, MOST_PAIRS = 30, 10
Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """The queries of one target through one backbone, with the most shots, one after the other.

    `place`: target, backbone and shots. `asked` [n]: the rows of the queries, -1 where there is none. `right` [n] by method: the share of
    its training runs that were right; NaN where it did not answer. `label` and `group` [n]: of the queries, places in their names, -1
    where there is none.
    """

    place: tuple[str, str, str]
    asked: Integers
    label: Integers
    group: Integers
    class_names: Sequence[str]
    group_names: Sequence[str]
    right: Mapping[str, Floats]

    @property
    def title(self) -> str:
        target, backbone, shots = self.place
        return f"{target}, {backbone}, {shots} shots"

    @property
    def shared(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The queries that every method answered, but for those of which no answers are known."""
        known = [np.isfinite(right) for right in self.right.values()]
        found: np.ndarray[Any, np.dtype[np.bool_]] = np.logical_and.reduce([one for one in known if one.any()])
        return found

    def means(self, of: np.ndarray[Any, Any]) -> dict[int, dict[str, float]]:
        """The mean of each method over the queries of each number in `of` [n], those that all methods answered; numbers below 0 count for
        nothing.
        """
        found: dict[int, dict[str, float]] = {}
        known = (of >= 0) & self.shared
        for name, right in self.right.items():
            if not np.isfinite(right).any():
                continue
            total, count = (np.bincount(of[known], weights) for weights in (right[known], None))
            for number in np.flatnonzero(count).tolist():
                found.setdefault(number, {})[name] = float(total[number] / count[number])
        return found


@final
@dataclass(frozen=True, eq=False)
class KnownRows:
    """What is known of the rows that a setting asks: their numbers (increasing), labels and groups, and the names of these."""

    row: Integers
    label: Integers
    group: Integers
    class_names: Sequence[str]
    group_names: Sequence[str]


def with_most_shots(settings: Sequence[tuple[int, int, str, str]]) -> list[int]:
    """The number of the setting of each study that has the most shots; of equals, and where shots are no number, the last one."""
    found: dict[int, tuple[int, int]] = {}
    for number, (study, _, _, shots) in enumerate(settings):
        found[study] = max(found.get(study, (0, 0)), (int(shots) if shots.isdigit() else 0, number))
    return [number for _, number in found.values()]


def rows_of(bench: Bench) -> dict[int, KnownRows]:
    """The rows of each study of a bench, by the number of its setting with the most shots."""
    found = {}
    for number in with_most_shots(bench.settings):
        space = bench.studies[bench.settings[number][0]].target
        row = np.arange(len(space))
        found[number] = KnownRows(row, space.labels, space.groups, space.class_names, space.group_names)
    return found


def answers_of(outline: Outline, outcomes: Outcomes, rows: Mapping[int, KnownRows]) -> list[Answers]:
    """One for each target and backbone; none where the answers of single queries were not kept. `rows`: by setting."""
    found = []
    for setting, known in rows.items():
        study, _, _, shots = outline.settings[setting]
        drawn = {seed: episodes for (s, seed), episodes in outcomes.drawn.items() if s == setting}
        asked = np.concatenate([episodes.query.numpy().reshape(-1) for episodes in drawn.values()])
        place = np.searchsorted(known.row, asked)
        label, group = (np.append(values, -1)[np.where(asked < 0, len(values), place)] for values in (known.label, known.group))
        right = {name: _right(outcomes, setting, name, drawn) for name in outline.methods}
        where = (outline.targets[study], outline.backbones[study], shots)
        if any(np.isfinite(values).any() for values in right.values()):
            found.append(Answers(where, asked, label, group, known.class_names, known.group_names, right))
    return found


def _right(outcomes: Outcomes, setting: int, method: str, drawn: Mapping[int, Any]) -> Floats:
    parts = []
    for seed, episodes in drawn.items():
        runs = [right for (s, other, name, _), right in outcomes.right.items() if (s, other, name) == (setting, seed, method)]
        whole = np.full(tuple(episodes.query.shape), np.nan)
        if runs:
            whole[: len(runs[0])] = np.mean(runs, axis=0)
        whole[(episodes.query < 0).numpy()] = np.nan
        parts.append(whole.reshape(-1))
    return np.concatenate(parts)


def by_backbone(answers: Sequence[Answers]) -> list[Answers]:
    """Backbones (or starts) in the place of methods: one for each target, method and number of shots that several of them answered on the
    same queries.
    """
    found: dict[tuple[str, str, str], list[Answers]] = {}
    for one in answers:
        for method, right in one.right.items():
            if np.isfinite(right).any():
                found.setdefault((one.place[0], method, one.place[2]), []).append(one)
    made = []
    for (target, method, shots), several in found.items():
        alike = [one for one in several if np.array_equal(one.asked, several[0].asked)]
        if len(alike) > 1:
            by_name = {one.place[1]: one.right[method] for one in alike}
            made.append(replace(alike[0], place=(target, method, shots), right=by_name))
    return made


def class_table(answers: Answers) -> Table:
    """A row for each class, the hardest first; at most MOST_CLASSES."""
    return _by(answers, answers.label, answers.class_names, "class")


def group_table(answers: Answers) -> Table | None:
    """A row for each group, the hardest first; None where there are fewer than two groups."""
    several = len(np.unique(answers.group[answers.group >= 0])) > 1
    return _by(answers, answers.group, answers.group_names, "group") if several else None


def _by(answers: Answers, of: np.ndarray[Any, Any], names: Sequence[str], what: str) -> Table:
    means = answers.means(of)
    order = sorted(means, key=lambda number: np.mean(list(means[number].values())))
    methods = list(answers.right)
    rows = [[Cell(names[number]), *(_percent(means[number].get(m)) for m in methods)] for number in order[:MOST_CLASSES]]
    left = len(order) - MOST_CLASSES
    notes = [f"The hardest {MOST_CLASSES} of {len(order)}."] if left > 0 else []
    if any((np.isfinite(right) & ~answers.shared).any() for right in answers.right.values()):
        notes.append("On the queries that all of these methods answered.")
    return Table.of([what, *methods], rows, answers.title, notes, [what, *(f"method_{i}" for i in range(len(methods)))])


def agreement_table(answers: Answers) -> Table | None:
    """Of the queries that at least one of two methods answered wrongly, the share that both did; None for fewer than two methods.

    1: they err on the same queries; 0: never together, so that an ensemble of the two could repair every error. With several training
    runs, two errors are counted as independent within a query.
    """
    methods = list(answers.right)
    if len(methods) < 2:
        return None
    rows = []
    for a in methods:
        cells = []
        for b in methods:
            wrong, other = 1 - answers.right[a], 1 - answers.right[b]
            known = np.isfinite(wrong) & np.isfinite(other)
            both, either = (wrong * other)[known].sum(), (wrong + other - wrong * other)[known].sum()
            cells.append(Cell(None, "") if a == b else _percent(float(both / either) if either else None))
        rows.append([Cell(a), *cells])
    return Table.of(["", *methods], rows, answers.title, (), ["method", *(f"method_{i}" for i in range(len(methods)))])


def pairs_table(answers: Answers) -> Table | None:
    """Right and wrong of two methods on the same queries, 2 x 2, and Cohen's kappa: 0 where errors are independent, 1 where they are the
    same. The first MOST_PAIRS pairs; None for fewer than two methods. With several training runs a method is right where more than half of
    them are.
    """
    pairs = list(itertools.combinations(answers.right, 2))
    rows = []
    for a, b in pairs[:MOST_PAIRS]:
        known = np.isfinite(answers.right[a]) & np.isfinite(answers.right[b])
        if not known.any():
            continue
        found = error_agreement(answers.right[a][known] > 0.5, answers.right[b][known] > 0.5, resamples=1)
        share = found.table / found.table.sum()
        cells = [_percent(float(share[i, j])) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))]
        kappa = Cell(None) if np.isnan(found.kappa) else Cell(found.kappa, f"{found.kappa:.2f}")
        rows.append([Cell(f"{a}, {b}"), *cells, _percent(found.independent), kappa])
    if not rows:
        return None
    columns = ["first, second", "both right", "first alone", "second alone", "both wrong", "both wrong if independent", "kappa"]
    notes = [f"The first {MOST_PAIRS} of {len(pairs)} pairs."] if len(pairs) > MOST_PAIRS else []
    keys = ["pair", "both_right", "first_alone", "second_alone", "both_wrong", "independent", "kappa"]
    return Table.of(columns, rows, answers.title, notes, keys)


def _percent(value: float | None) -> Cell:
    return Cell(None) if value is None else Cell(value, f"{100 * value:.1f}")
