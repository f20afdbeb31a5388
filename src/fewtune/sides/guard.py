"""The guard: what is known of a finetuned side beside the frozen one, on examples or classes that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.sides.held_out import Floats, HeldOut
from fewtune.statistics import Gain, Interval, sign_flip_test

Place: TypeAlias = Literal["the target's own splits", "held-out classes of the sources"]

OWN: Place = "the target's own splits"
ON_SOURCES: Place = "held-out classes of the sources"
LEVEL = 0.90  # of the interval whose lower bound decides: 95% on the one side that matters
FOLDS = 4
LEAST_SHOTS = 4  # of a class: below, a fold leaves too little to learn from
LEAST_CLASSES = 5  # of the sources to judge by: with fewer, all of them gain by chance alone in more than one case of twenty
LEAST_ITEMS = 30  # held-out answers on the target itself: with fewer, no gain short of a dozen points could be shown


@final
@dataclass(frozen=True, eq=False)
class Guard:
    """The comparison that decides. `differences` [n]: finetuned minus frozen correctness, one number an item (a row of the target, or a
    held-out class of the sources). `gain`: of the finetuned side, as a fraction; its lower bound above 0 keeps it. Classes of the
    sources may be few and alike, so an exact sign-flip test must agree there: an interval over four equal numbers has no width, and is
    no proof.

    `frozen` and `finetuned`: the two accuracies in [0, 1]. `learners`: what was chosen on either side, where classes of the sources judged.
    """

    where: Place
    gain: Interval
    frozen: float
    finetuned: float
    differences: Floats
    learners: tuple[tuple[str, str], ...]

    @property
    def advised(self) -> str | None:
        """The learner on the finetuned side that the sources' classes were answered by; None where the target's own rows chose, a fold
        each.
        """
        return self.learners[0][1] if self.where == ON_SOURCES else None

    @property
    def by_rows(self) -> bool:
        """Whether the target's own rows judged, not classes of the sources."""
        return self.where == OWN

    @property
    def kept(self) -> bool:
        """Whether the finetuned backbone is used."""
        return bool(self.gain.low > 0) and (self.where == OWN or sign_flip_test(self.differences) <= 1 - LEVEL)  # two-sided, as LEVEL is

    @property
    def too_few(self) -> bool:
        """Whether it was judged by so few classes of the sources that no gain of theirs could be shown."""
        return self.where == ON_SOURCES and len(self.differences) < LEAST_CLASSES


def own_splits_allow(labels: Integers, ways: int) -> bool:
    """Whether a target has labels enough to be split: 30 rows, and half of all, in two or more classes of 4 rows or more.

    Rare classes beside them do no harm: a class keeps a row to learn from in every fold.
    """
    counts = np.bincount(labels, minlength=ways)
    ample = counts[counts >= LEAST_SHOTS]
    return bool(len(ample) >= 2 and ample.sum() >= max(LEAST_ITEMS, counts.sum() / 2))


def guard_of(frozen: HeldOut, rival: HeldOut, gain: Gain) -> Guard:
    """What the held-out rows of the target say of a side; `gain` is what the test of all rivals says of it.

    The test looks at how clearly each row is right, not only at whether it is. Its bounds are given here in points of accuracy: they lie
    around the difference of the accuracies as the test's bounds lie around its own mean (the same t).
    """
    before, after = frozen.correct, rival.correct
    judged = ~np.isnan(before) & ~np.isnan(after)
    differences = (after - before)[judged]
    mean, half = float(differences.mean()), gain.mean - gain.low
    if mean > 0 and gain.mean > 0:
        half *= mean / gain.mean
    return Guard(
        where=OWN,
        gain=Interval(mean, mean - half, mean + half, LEVEL, gain.rows, "paired t, all rivals"),
        frozen=float(before[judged].mean()),
        finetuned=float(after[judged].mean()),
        differences=differences,
        learners=(),
    )
