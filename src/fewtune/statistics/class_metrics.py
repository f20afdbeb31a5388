"""Metrics of class answers: how often they are right. Those that name "multi" also take several yes/no labels a row.

Predictions are probabilities [N, K] and truth classes [N] (-1: missing, left out); for "multi" probabilities [N, L] and truth 0 or 1
[N, L] (NaN: missing, left out), and a label is predicted from probability 1/2 on. No known row gives NaN.
"""

from __future__ import annotations

import math

import numpy as np

from fewtune.statistics.known import kind_of, known_classes, known_labels, known_rows
from fewtune.statistics.sample import Floats, Numbers

SMALLEST = float(np.finfo(np.float64).eps)  # probabilities are taken for at least this in logarithms, as scikit-learn does


def accuracy(prediction: Numbers, truth: Numbers) -> float:
    """The share of rows whose most probable class is right (ties: the first)."""
    return _mean(right(prediction, truth))


def balanced_accuracy(prediction: Numbers, truth: Numbers) -> float:
    """The mean over the classes of the truth of the share of their rows that is right. A class without rows is left out."""
    known_classes(prediction, truth)  # refuses other kinds
    hits, _, true = _counts(prediction, truth)
    return _mean(hits[true > 0] / true[true > 0])


def macro_f1(prediction: Numbers, truth: Numbers) -> float:
    """The mean of F1 = 2 hits / (predicted + true); class or multi.

    Classes that are neither true nor predicted anywhere are left out. A label that is neither counts 0 (scikit-learn's value).
    """
    if not known_rows(prediction, truth).any():
        return math.nan
    hits, predicted, true = _counts(prediction, truth)
    some = (predicted + true > 0) | (kind_of(prediction, truth) == "multi")
    return _mean(2 * hits[some] / np.maximum(predicted + true, 1)[some])


def micro_f1(prediction: Numbers, truth: Numbers) -> float:
    """F1 of all entries together; class or multi. For classes it equals the accuracy. No entry that is true or predicted: 0."""
    if not known_rows(prediction, truth).any():
        return math.nan
    hits, predicted, true = _counts(prediction, truth)
    return float(2 * hits.sum() / max(float((predicted + true).sum()), 1.0))


def mcc(prediction: Numbers, truth: Numbers) -> float:
    """Matthews' correlation of predicted and true class (Gorodkin's for more than two); 0 where either is constant.

    Reference: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    """
    known_classes(prediction, truth)  # refuses other kinds
    hits, predicted, true = _counts(prediction, truth)
    n = float(true.sum())
    if n == 0:
        return math.nan
    size = math.sqrt((n * n - float(predicted @ predicted)) * (n * n - float(true @ true)))
    return (n * float(hits.sum()) - float(predicted @ true)) / size if size else 0.0


def log_loss(prediction: Numbers, truth: Numbers) -> float:
    """The mean of -log(probability of the truth) [nats], over rows (class) or over known entries (multi); lower is better."""
    if kind_of(prediction, truth) == "class":
        return _mean(surprise(prediction, truth))
    chance, labels = known_labels(prediction, truth)
    known = ~np.isnan(labels)
    return _mean(-np.log(np.maximum(np.where(labels[known] == 1, chance[known], 1 - chance[known]), SMALLEST)))


def right(prediction: Numbers, truth: Numbers) -> Floats:
    """1 where the most probable class is right, else 0, of the known rows [n]; its mean is the accuracy."""
    chance, classes = known_classes(prediction, truth)
    return np.asarray(chance.argmax(1) == classes, dtype=np.float64)


def surprise(prediction: Numbers, truth: Numbers) -> Floats:
    """-log(probability of the true class) of the known rows [n]; its mean is the log-loss."""
    chance, classes = known_classes(prediction, truth)
    return np.asarray(-np.log(np.maximum(chance[np.arange(len(classes)), classes], SMALLEST)), dtype=np.float64)


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan


def _counts(prediction: Numbers, truth: Numbers) -> tuple[Floats, Floats, Floats]:
    """Of each class [K] or label [L]: rows predicted rightly, rows predicted, rows true."""
    if kind_of(prediction, truth) == "class":
        chance, classes = known_classes(prediction, truth)
        every = np.arange(chance.shape[1])
        said, holds = chance.argmax(1)[:, None] == every, classes[:, None] == every
    else:
        chance, labels = known_labels(prediction, truth)
        said, holds = (chance >= 0.5) & ~np.isnan(labels), labels == 1
    count = [np.asarray(flags.sum(0), dtype=np.float64) for flags in (said & holds, said, holds)]
    return count[0], count[1], count[2]
