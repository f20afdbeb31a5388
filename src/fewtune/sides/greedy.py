"""The greedy ensemble of sides. The weights that answer a fold are chosen on the answers to other examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax

from fewtune.sides.held_out import HeldOut
from fewtune.statistics import greedy_weights

GREEDY = "greedy mean"


def greedy_of(held: Mapping[str, HeldOut]) -> tuple[HeldOut, dict[str, float]]:
    """(the held-out answers of the ensemble, its weights for new examples by side) of sides that answered the same folds.

    For each fold, `greedy_weights` are chosen on the answers of all repeats to the examples that are not in it, calibrated as those to the
    fold are: by these examples. So no answer is weighed by its own label. For new examples they are chosen on all answers. Sides of weight
    0 are left out.
    """
    first, sides = next(iter(held.values())), list(held.values())
    assert first.fold is not None
    logs = np.stack([one.log_probabilities for one in sides])
    known = ~np.isnan(logs).any((0, 3))
    labels = np.broadcast_to(first.labels, known.shape)
    answers = np.full(logs.shape[1:], np.nan)
    for fold in np.unique(first.fold[known]):
        asked = known & (first.fold == fold)
        others = known & ~asked.any(0)
        seen = [log_softmax(one.logits[others] / one.temperatures[asked][0], axis=1) for one in sides]
        weights = greedy_weights(seen, labels[others])
        answers[asked] = np.tensordot(weights, logs[:, asked], 1)
    weights = greedy_weights(logs[:, known], labels[known])
    return HeldOut(answers, first.labels, first.fold), {n: float(w) for n, w in zip(held, weights, strict=True) if w > 0}
