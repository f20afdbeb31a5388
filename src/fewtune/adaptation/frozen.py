"""The frozen model: the best learner on the backbone as it came. Finetuning starts from it and is compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fewtune.adaptation.settings import AdaptSettings
from fewtune.data.examples import Integers
from fewtune.learners.choice import Choice
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning.method import Method


@final
@dataclass(frozen=True, eq=False)
class FrozenModel:
    """`side`: the rows of the `target` by the backbone as it came. `choice`: the learner on them, chosen from `methods`."""

    target: Target
    side: Side
    methods: Mapping[str, Method]
    choice: Choice

    @property
    def labels(self) -> Integers:
        """Of the target's labelled rows."""
        return self.target.labels[self.target.support]

    def choose(self, side: Side, how: AdaptSettings, fallback: str | None = None) -> Choice:
        """The learner on another side of the same target, chosen in the same way."""
        return choose(side, self.methods, self.target, how, fallback)


def choose(side: Side, methods: Mapping[str, Method], target: Target, how: AdaptSettings, fallback: str | None = None) -> Choice:
    """The learner on a side, chosen on the labelled rows. `fallback`: the one to take where they cannot choose."""
    labels = target.labels[target.support]
    return side.choose(methods, target.support, labels, target.class_names, how.seed, folds=how.folds, fallback=fallback)
