"""One example a class: nothing of the target can be held out, so classes of the sources say which learner to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fewtune.learners.side import Side
from fewtune.learners.usual import alone_of
from fewtune.learning.method import Method
from fewtune.recipes.default_learners import display_name
from fewtune.sides.guard import LEVEL
from fewtune.sources.answering import Floats, accuracies_by_class, vectors_of_classes
from fewtune.sources.held_out_classes import EPISODES, HeldOutClasses
from fewtune.sources.roles import Part
from fewtune.statistics import sign_flip_test, t_interval
from fewtune.words import counted

PARTS: tuple[Part, ...] = ("train", "validation")


@final
@dataclass(frozen=True, eq=False)
class BestLearner:
    """The learner to take, by its answers to classes of `sources` data sets: the one with the highest accuracy of those that are clearly
    better than the `usual` one (the 90% t interval of the paired differences over classes is above 0, and a sign-flip test agrees), else
    the usual one.

    `by_class`: for each learner its accuracy on every class [C], in [0, 1], the same classes for all.
    """

    by_class: Mapping[str, Floats]
    usual: str
    sources: int

    @property
    def name(self) -> str:
        """The learner to take."""
        better = [name for name in self.by_class if name != self.usual and self._better(name)]
        return max(better, key=self.accuracy, default=self.usual)

    def _better(self, name: str) -> bool:
        """Whether a learner is clearly better than the usual one. An interval over a few equal numbers has no width and is no proof."""
        gains = self.by_class[name] - self.by_class[self.usual]
        return t_interval(gains, LEVEL).low > 0 and sign_flip_test(gains) <= 1 - LEVEL

    def accuracy(self, name: str) -> float:
        """The mean over classes of a learner."""
        return float(self.by_class[name].mean())

    @property
    def said(self) -> str:
        """What was chosen, in a sentence."""
        best, usual = (f"{100 * self.accuracy(name):.1f}%" for name in (self.name, self.usual))
        where = f"on {len(self.by_class[self.usual])} classes of {counted(self.sources, 'other data set')}"
        alone = f"Your classes have one example each. With one example a class, {display_name(self.name)} had {best} right {where}"
        if self.name == self.usual:
            return f"{alone}, and no other learner had clearly more."
        return f"{alone}, more than the usual learner, {display_name(self.usual)} ({usual}), so it was taken."


def best_learner(methods: Mapping[str, Method], frozen: Side, judge: HeldOutClasses) -> BestLearner | None:
    """The learner for a target with one example a class, by episodes like it; None where the sources have fewer than two classes to ask.

    `frozen`: the backbone as it came, with the features of the sources' rows. Nothing is learned from the classes here, so those that
    finetuning trains on are asked too.
    """
    names, class_names = judge.source_rows.names, judge.source_rows.space.class_names
    batches = [episodes for part in PARTS for episodes in judge.episodes(part, names, EPISODES)]
    if not batches:
        return None
    vectors = vectors_of_classes(frozen, methods.values(), batches, class_names)
    by_class = {name: accuracies_by_class(frozen, method, batches, vectors) for name, method in methods.items()}
    return BestLearner(by_class, alone_of(methods), len(names))
