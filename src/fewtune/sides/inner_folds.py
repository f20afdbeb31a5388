"""Finetuning on own labels in the settings that do best on inner folds of the examples at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy.special import log_softmax

from fewtune.data.examples import Integers
from fewtune.errors import Diverged
from fewtune.learning.method import Method
from fewtune.sides.held_out import held_out, outer_splits
from fewtune.sides.own import OwnTuner
from fewtune.sides.progress import NOTHING, Finished
from fewtune.sides.route import Made, Route

INNER = 2  # folds: each setting is finetuned once for each


@final
@dataclass(frozen=True, eq=False)
class InnerFolds:
    """`tuners`: the same target in several settings, the usual one first. `learner`: what answers. `finished`: where answers are kept and
    found. Whatever is asked of it looks at the labels of the given rows alone, so a choice can be judged on others.
    """

    tuners: tuple[OwnTuner, ...]
    learner: Method
    finished: Finished = NOTHING

    def made(self, rows: Integers) -> Made:
        """The side in the best settings for these rows. Raises Diverged where every setting does."""
        return self.best(rows).made(rows)

    def best(self, rows: Integers) -> OwnTuner:
        """The tuner whose answers to two folds of these rows have the lowest log-loss, each calibrated; ties go to the first one."""
        losses = [self._loss(tuner, rows) for tuner in self.tuners]
        if min(losses) == np.inf:
            raise Diverged("finetuning on your own labels diverged in every setting that was tried.")
        return self.tuners[int(np.argmin(losses))]

    def _loss(self, tuner: OwnTuner, rows: Integers) -> float:
        """Mean held-out log-loss [nats], infinite where training diverges."""
        inside = replace(tuner.target, support=rows)
        splits = outer_splits(inside, tuner.seed, INNER, 1)
        route = Route("inner", "in one setting", tuner.made, self.learner, tuner.key(self.learner))
        try:
            held = held_out(route, inside, {}, splits, tuner.seed, self.finished)
        except Diverged:
            return np.inf
        item = held.answers.item
        logs = log_softmax(held.answers.logits.numpy() / held.temperature, axis=1)
        return -float(logs[np.arange(len(item)), held.labels[item]].mean())
