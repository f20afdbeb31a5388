"""From a collection as it was read to rows that can be learned from: checked, embedded, without duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features
from fewtune.data.examples import TEST, Examples, Integers
from fewtune.data.room import free_memory
from fewtune.errors import InputError
from fewtune.learners.folds import MOST_HELD_OUT
from fewtune.learners.unseen import unseen_rows
from fewtune.words import option

BYTES = (
    40  # held for each answered row and class while learners are compared and the report is made: 44 were measured with 8,000 rows of 4,000
)
FEWEST_FOLDS = 5  # rows of a class that are held out, where it has so many
SMALL = 1 << 30  # bytes: what takes less is not worth the look at how much memory is free


@final
@dataclass(frozen=True, eq=False)
class Target:
    """The target's rows with features [N, D]. `labels` [N] are 0..K-1 into `class_names`, -1 where a row is not used.

    `support`: the rows to learn from. `test`: the rows of a test split, for one final measurement. `tested`: all rows of the test split
    that can be read, whatever their label. `left_out`: (row, reason) of rows that are not learned from or cannot be read; `unmeasured`: of
    test rows that the measurement leaves out, which `about_test` says in words. No label of a test row has a say in anything but `labels`
    of test rows, `test`, `unmeasured` and `about_test`.
    """

    examples: Examples
    features: Tensor
    labels: Integers
    class_names: tuple[str, ...]
    support: Integers
    test: Integers
    tested: Integers
    left_out: tuple[tuple[str, str], ...]
    unmeasured: tuple[tuple[str, str], ...]
    about_test: tuple[str, ...]
    digest: str

    def shots(self) -> Integers:
        """Support rows of each class [K]."""
        return np.bincount(self.labels[self.support], minlength=len(self.class_names))


def usable_target(examples: Examples, backbone: Backbone, *, cache: Path | None, skip_bad: bool, quiet: bool) -> Target:
    """Embed the rows and keep those that can be used.

    Rows that cannot be read and, among rows to learn from, the same content under two classes are refused with their names, or left out
    with `skip_bad`; second copies within a class are always left out (they would make the held-out estimate too good). Test rows are
    dealt with apart (`unseen_rows`).
    """
    trained = np.flatnonzero((examples.labels >= 0) & (examples.row_split != TEST))
    _check_classes(examples, trained)
    _, features, bad = readable_features(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
    copies, clashes = _duplicates(examples, [row for row in trained.tolist() if row not in bad])
    if clashes and not skip_bad:
        raise InputError(_clash(examples, clashes))
    reasons = bad | copies | {row: f"the same content as {other}, under another class" for row, other in clashes.items()}
    support = np.array([row for row in trained.tolist() if row not in reasons], dtype=np.int64)
    present, labels_there = np.unique(examples.labels[support], return_inverse=True)
    if len(present) < 2:
        raise InputError(f"{examples.name}: expected at least two classes with usable rows to learn from, found {len(present)}.")
    class_names = tuple(examples.class_names[c] for c in present)
    unseen = unseen_rows(examples, class_names, support, bad)
    labels = np.full(len(examples), -1, dtype=np.int64)
    labels[support] = labels_there
    labels[unseen.measured] = unseen.labels
    return Target(
        examples=examples,
        features=features,
        labels=labels,
        class_names=class_names,
        support=support,
        test=unseen.measured,
        tested=unseen.tested,
        left_out=tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items()))
        + tuple((s.name, s.reason) for s in examples.skipped),
        unmeasured=unseen.left_out,
        about_test=unseen.sentences,
        digest=examples.digest(),
    )


def check_answers_fit(target: Target) -> None:
    """Raise InputError where the answers to all rows, a number for each class, are more than this machine's free memory.

    What is held is BYTES of them for every held-out row and class, while the learners are compared and the report is made.
    """
    rows, ways = len(target.support), len(target.class_names)
    needed, free = BYTES * min(rows, max(MOST_HELD_OUT, FEWEST_FOLDS * ways)) * ways, free_memory()
    if needed > SMALL and free is not None and needed > free:
        raise InputError(
            f"{target.examples.name} has {rows:,} rows of {ways:,} classes: the answers to them, a number for each class, take about "
            f"{needed / 1e9:,.0f} GB, and {free / 1e9:,.1f} GB are free: give fewer rows or classes, or a machine with more memory."
        )


def _check_classes(examples: Examples, trained: Integers) -> None:
    found = len(np.unique(examples.labels[trained]))
    if found < 2:
        raise InputError(
            f"{examples.name}: expected at least two classes with examples to learn from, found {found}; add a class, or check the labels."
        )


def _duplicates(examples: Examples, rows: Sequence[int]) -> tuple[dict[int, str], dict[int, str]]:
    """(second copies within a class, rows whose content stands under several classes) among some rows, each with what it copies."""
    if examples.modality == "vector":
        return {}, {}
    labels = examples.labels
    same: dict[bytes, list[int]] = {}
    for row in rows:
        same.setdefault(examples.row_digests[row], []).append(row)
    copies: dict[int, str] = {}
    clashes: dict[int, str] = {}
    for alike in same.values():
        if len({int(labels[row]) for row in alike}) > 1:
            clashes |= {row: examples.row_names[next(r for r in alike if labels[r] != labels[row])] for row in alike}
        else:
            copies |= dict.fromkeys(alike[1:], f"a copy of {examples.row_names[alike[0]]}")
    return copies, clashes


def _clash(examples: Examples, clashes: dict[int, str]) -> str:
    row, other = next(iter(sorted(clashes.items())))
    name = examples.class_names[examples.labels[row]]
    return (
        f"{len(clashes)} rows have the same content under different classes, for example {examples.row_names[row]} ({name}) and {other}: "
        f"keep each under one class, or pass {option('--skip-bad')} to leave them out."
    )
