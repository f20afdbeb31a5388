"""What a model answered to its own labelled examples while they were held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.statistics import Coverage, abstention_threshold, coverage_curve, least_probability, softmax

if TYPE_CHECKING:
    from fewtune.learners.choice import Answers  # predict needs nothing of it

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class HeldAnswers:
    """Answers to held-out rows, one or several to a row: which row of the support (`item` [A]), the calibrated probability of its own class
    (`true` [A]) and of the class that was answered (`best` [A]), and whether that was `right` [A]."""

    item: Integers
    true: Floats
    best: Floats
    right: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def weight(self) -> Floats:
        """A weight for each answer, so that every row counts once."""
        return 1 / np.bincount(self.item)[self.item]

    def coverage(self) -> Coverage:
        """Accuracy on the surest answers alone, and on more and more of them."""
        return coverage_curve(self.best, self.right, self.weight)

    def threshold(self) -> float:
        """The probability below which no label is given, see `abstention_threshold`; with three digits."""
        return float(f"{abstention_threshold(self.best, self.right, self.weight):.3f}")

    def least(self, level: float) -> float:
        """The probability that a class must have to be in a set, see `least_probability`."""
        return least_probability(self.true, level, self.weight)


def held_answers(answers: Answers, labels: Integers, temperature: float) -> HeldAnswers:
    """From the logits of held-out answers; `labels` [S] of the support."""
    p = softmax(answers.logits.double().cpu().numpy(), temperature)
    own, best = labels[answers.item], p.argmax(1)
    rows = np.arange(len(p))
    return HeldAnswers(answers.item, p[rows, own], p[rows, best], best == own)
