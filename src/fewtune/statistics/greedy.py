"""Weights of an ensemble: members are added one by one, each time the one that helps most.

Reference: Caruana et al., "Ensemble selection from libraries of models", ICML 2004 (selection with replacement, section 2.1). Departs:
log-probabilities are averaged, not probabilities, and members are added by log-loss alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats
from fewtune.statistics.special import log_softmax

ROUNDS = 20


def greedy_weights(log_probabilities: npt.ArrayLike, labels: npt.ArrayLike, rounds: int = ROUNDS) -> Floats:
    """Weights [M], which sum to 1, of members with log-probabilities [M, A, K] of A answers; labels [A] in 0..K-1.

    In each of `rounds` (at least 1) the member is added, perhaps once more, with which the mean of the log-probabilities has the lowest
    log-loss; ties go to the first one. The weights are the shares of the members in the best ensemble on the way. Raises ValueError for
    other shapes and for numbers that are not finite.
    """
    logs: Floats = np.asarray(log_probabilities, dtype=np.float64)
    right = np.asarray(labels)
    if logs.ndim != 3 or logs.size == 0 or not np.isfinite(logs).all():
        raise ValueError(f"expected finite log-probabilities [members, answers, classes], found shape {logs.shape}.")
    if right.shape != logs.shape[1:2] or not np.issubdtype(right.dtype, np.integer) or not ((right >= 0) & (right < logs.shape[2])).all():
        raise ValueError(f"expected {logs.shape[1]} labels between 0 and {logs.shape[2] - 1}, found {right.dtype} of shape {right.shape}.")
    if rounds < 1:
        raise ValueError(f"expected at least 1 round, found {rounds}.")
    taken = np.zeros(len(logs))
    best, lowest = taken, np.inf
    for number in range(1, rounds + 1):
        total = np.tensordot(taken, logs, 1)
        losses = [_loss((total + one) / number, right) for one in logs]
        added = int(np.argmin(losses))
        taken = taken + (np.arange(len(logs)) == added)
        if losses[added] < lowest:
            best, lowest = taken / number, losses[added]
    return best


def _loss(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Mean log-loss [nats] of logits [A, K]."""
    return -float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
