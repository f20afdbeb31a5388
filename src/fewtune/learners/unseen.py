"""The rows of a test split: which of them a model is measured on, and what is said of the others.

Their labels are used for nothing else: with other labels of the test rows, the same model comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.examples import TEST, Examples, Integers
from fewtune.data.reading.order import some
from fewtune.data.same_names import match_names, matched_in_words
from fewtune.words import counted


@final
@dataclass(frozen=True, eq=False)
class Unseen:
    """The test rows of a target. `tested` [T]: all that can be read, whatever their label. `measured` [M]: those that count, with their
    `labels` [M] among the training classes. `left_out`: (row, reason) of the others. `sentences`: all this in words."""

    tested: Integers
    measured: Integers
    labels: Integers
    left_out: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def unseen_rows(examples: Examples, class_names: Sequence[str], support: Integers, bad: Mapping[int, str]) -> Unseen:
    """The test rows beside the rows that are learned from (`support`, of classes `class_names`); `bad` rows cannot be read.

    Classes are matched by name, also where they differ in case or in the form of an accent alone. Left out: rows without a label, rows of
    classes that training lacks, and rows whose content is learned from or stands among the test rows before. Of test rows with the same
    content and several labels none counts.
    """
    inside = examples.row_split == TEST
    inside[list(bad)] = False
    tested = np.flatnonzero(inside)
    place = np.array([*match_names(examples.class_names, class_names), -1], dtype=np.int64)
    labels = place[examples.labels]
    strange = [row for row in tested.tolist() if examples.labels[row] >= 0 and labels[row] < 0]
    reasons = {row: "it has no label" for row in tested.tolist() if examples.labels[row] < 0}
    reasons |= {row: f"training has no class {examples.class_names[examples.labels[row]]}" for row in strange}
    learned = _learned(examples, tested, support)
    reasons |= {row: f"a copy of {examples.row_names[first]}, which is learned from" for row, first in learned.items()}
    copies = _copies(examples, [row for row in tested.tolist() if row not in reasons], labels)
    reasons |= copies
    measured = np.array([row for row in tested.tolist() if row not in reasons], dtype=np.int64)
    told = _Told(examples, len(tested))
    sentences = (
        *matched_in_words((examples.class_names[examples.labels[row]], class_names[labels[row]]) for row in measured.tolist()),
        *told.strange([row for row in strange if row not in learned]),
        *told.learned(learned),
        *told.copies(list(copies)),
        *told.unlabelled(sum(reason == "it has no label" for reason in reasons.values())),
    )
    left_out = tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items()))
    return Unseen(tested, measured, labels[measured], left_out, sentences)


def _learned(examples: Examples, tested: Integers, support: Integers) -> dict[int, int]:
    """Test rows whose content is learned from, each with the row that holds it."""
    if not len(tested):
        return {}
    digests = examples.row_digests
    known = {digests[row]: row for row in support.tolist()[::-1]}
    return {row: known[digests[row]] for row in tested.tolist() if digests[row] in known}


def _copies(examples: Examples, rows: Sequence[int], labels: Integers) -> dict[int, str]:
    """Second copies among some rows, and all rows of a content that has several labels. Embeddings count as they are."""
    if examples.modality == "vector":
        return {}
    same: dict[bytes, list[int]] = {}
    for row in rows:
        same.setdefault(examples.row_digests[row], []).append(row)
    found: dict[int, str] = {}
    for alike in same.values():
        first, *rest = (examples.row_names[row] for row in alike)
        if len({int(labels[row]) for row in alike}) > 1:
            found |= {row: f"the same content as {rest[0] if row == alike[0] else first}, under another class" for row in alike}
        else:
            found |= dict.fromkeys(alike[1:], f"a copy of {first}")
    return found


@final
@dataclass(frozen=True, eq=False)
class _Told:
    """What is said of `count` test rows."""

    examples: Examples
    count: int

    def strange(self, rows: Sequence[int]) -> list[str]:
        names = sorted({self.examples.class_names[self.examples.labels[row]] for row in rows})
        if not names:
            return []
        of = f"class {names[0]}" if len(names) == 1 else f"{len(names)} classes ({some(names)})"
        return [f"{self._of(len(rows))} of {of}, which training does not have: left out of this measurement."]

    def learned(self, found: Mapping[int, int]) -> list[str]:
        if not found:
            return []
        row, first = next(iter(found.items()))
        example = f"{self.examples.row_names[row]} is {self.examples.row_names[first]}"
        what = f"{self._of(len(found), 'has', 'have')} the content of a training row ({example})"
        return [f"{what}: left out of this measurement, which is on new rows alone."]

    def copies(self, rows: Sequence[int]) -> list[str]:
        if not rows:
            return []
        what = f"{self._of(len(rows), 'has', 'have')} the content of another test row (for example {self.examples.row_names[rows[0]]})"
        return [f"{what}: left out of this measurement."]

    def unlabelled(self, count: int) -> list[str]:
        return [f"{self._of(count, 'has', 'have')} no label: left out of this measurement."] if count else []

    def _of(self, count: int, one: str = "is", many: str = "are") -> str:
        return f"{count:,} of {counted(self.count, 'test row')} {one if count == 1 else many}"
