"""Rows to look at again: those the chosen learner is least sure of, and those whose label is likely wrong.

Both are read off held-out answers, in which no row was judged by a learner that had seen its label, as probabilities averaged over the
repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.learners.choice import Answers
from fewtune.statistics import softmax

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True)
class Doubt:
    """A row in doubt: the label `given` to it, the one `answered` while it was held out, and the `probability` of that answer.

    `self_confidence`: the probability of the given label. All labels are 0..K-1.
    """

    row: int
    given: int
    answered: int
    probability: float
    self_confidence: float


def most_uncertain(
    answers: Answers,
    rows: Integers,
    labels: Integers,
    *,
    temperature: float = 1.0,
    most: int = 12,
    by: Literal["margin", "entropy"] = "margin",
) -> tuple[Doubt, ...]:
    """The rows of which the learner is least sure, the most doubtful first; at most `most`.

    By the least margin between the two likeliest classes, or by the greatest entropy of all. `rows` [N] are those of the choice, `labels`
    [N] theirs; rows that were never held out are passed over. What is right but unsure is among them: it is the place where a further
    label teaches most.
    """
    held, p = held_out_probabilities(answers, len(rows), temperature)
    if by == "margin":
        top = np.sort(p, axis=1)
        certain = top[:, -1] - top[:, -2]
    else:
        certain = np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)
    order = np.argsort(certain, kind="stable")[:most]
    return tuple(_doubt(int(held[i]), p[i], rows, labels, int(p[i].argmax())) for i in order)


def likely_mislabelled(
    answers: Answers, rows: Integers, labels: Integers, *, temperature: float = 1.0, most: int | None = None
) -> tuple[Doubt, ...]:
    """Rows whose given label is likely wrong by confident learning, the likeliest first; at most `most` (None: all).

    The threshold of a class is the mean probability of it over the rows given it. A row is in doubt where another class is above its
    threshold, the likeliest of those is the answer, the given label's probability is below its own threshold, and the answer is likelier
    than it. Order: by the normalised margin, the probability of the given label minus that of the answer, least first.

    It is a list to look at, not to delete by: it cannot tell a wrong label from a hard row. With one label in twenty changed in ten
    classes of 20 rows, where the learner is right in nine of ten it listed 78% of them, two thirds of its list; where it is right in
    six or seven of ten, half to three quarters of them, a fifth of its list, and of clean data 12 to 18% of the rows.
    Reference: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70, 2021.
    Departs: among the off-diagonal rows of its confident joint, only those with a given label below its own threshold: with few shots,
    thresholds are low, and rows that look like both classes would be flagged.
    """
    held, p = held_out_probabilities(answers, len(rows), temperature)
    given = labels[held]
    own = p[np.arange(len(p)), given]
    sums, counts = np.bincount(given, weights=own, minlength=p.shape[1]), np.bincount(given, minlength=p.shape[1])
    threshold = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)  # no row of this class was held out
    likely = np.where(p >= threshold, p, -1.0)
    likely[np.arange(len(p)), given] = -1.0
    answer = likely.argmax(1)
    best = likely[np.arange(len(p)), answer]
    doubtful = np.flatnonzero((own < threshold[given]) & (best > own))
    order = doubtful[np.argsort((own - best)[doubtful], kind="stable")][:most]
    return tuple(_doubt(int(held[i]), p[i], rows, labels, int(answer[i])) for i in order)


def held_out_probabilities(answers: Answers, count: int, temperature: float = 1.0) -> tuple[Integers, Floats]:
    """(places [H] of the rows ever held out, among 0..count-1; their probabilities [H, K], the mean over repeats)."""
    each = softmax(answers.logits.double().cpu().numpy(), temperature)
    times = np.bincount(answers.item, minlength=count)
    held = np.flatnonzero(times)
    total = np.zeros((len(held), each.shape[1]))
    np.add.at(total, np.searchsorted(held, answers.item), each)
    return held, total / times[held, None]


def _doubt(place: int, p: Floats, rows: Integers, labels: Integers, answer: int) -> Doubt:
    given = int(labels[place])
    return Doubt(int(rows[place]), given, answer, float(p[answer]), float(p[given]))
