"""Finetuning on the target's own labels: which methods are tried, and the way to each side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

from fewtune.adaptation.frozen import FrozenModel
from fewtune.adaptation.settings import AdaptSettings
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY
from fewtune.errors import InputError
from fewtune.learners.usual import prior_of, without_spread
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, phases_of
from fewtune.learning.scaled import scaled
from fewtune.parts.heads import Head, Ridge, Text
from fewtune.sides.guard import own_splits_allow
from fewtune.sides.inner_folds import InnerFolds
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.progress import Finished
from fewtune.sides.route import Made, Route, remembered
from fewtune.sources.stages import REMEMBERED
from fewtune.words import option

OWN = "finetuned on your labels"
CHOSEN = "finetuned on your labels in chosen settings"
BOTH = "finetuned on other data, then on your labels"


@final
@dataclass(frozen=True, eq=False)
class OwnLabels:
    """`frozen`: the model that finetuning starts from. `how`: what is asked for."""

    frozen: FrozenModel
    how: AdaptSettings

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """The methods to try."""
        backbone = self.frozen.side.backbone
        return self.how.own.chosen(
            backbone.preparation.modality, self.how.finetune, label_side=backbone.label_side, answers_prompts=backbone.answers_prompts
        )

    @cached_property
    def possible(self) -> bool:
        """Whether there are weights to move, a method that moves them, and enough labels to judge it by.

        Raises InputError where there are no weights although finetuning on own labels alone is asked for.
        """
        backbone = self.frozen.side.backbone
        if self.how.finetune == "own" and not backbone.groups:
            raise InputError(f"{backbone.name} has no weights to finetune: give another backbone, or leave {option('--finetune own')} out.")
        return bool(backbone.groups and self.recipes) and self._enough

    @property
    def too_few(self) -> bool:
        """Whether only labels are missing."""
        return bool(self.frozen.side.backbone.groups and self.recipes) and not self._enough

    @cached_property
    def _enough(self) -> bool:
        return own_splits_allow(self.frozen.labels, len(self.frozen.target.class_names))

    @cached_property
    def learner(self) -> Method:
        """What answers on features that were finetuned on the labels: of prompts, the label words; else the usual learner (a blend without
        its Gaussian), else ridge regression, else the first. No label has a say in it: it answers examples that are held out."""
        methods = self.frozen.methods
        if self.frozen.side.backbone.answers_prompts:
            return _first(methods, Text)
        usual = prior_of(methods)
        return _first(methods, Ridge) if usual is None else without_spread(methods[usual])

    @cached_property
    def _space(self) -> RowSpace:
        return RowSpace([self.frozen.target.examples], remember=REMEMBERED)

    def tuner(self, recipe: str) -> OwnTuner:
        """What finetunes by a method."""
        backbone = self.frozen.side.backbone
        return OwnTuner(self.frozen.target, self._space, backbone, scaled(own_method(recipe), backbone), self.how.seed)

    def route(self, tuner: OwnTuner, number: int) -> Route:
        """The way to a side by the method of this number."""
        by = f" by {self.short(number)}" if number else ""
        made = Route(f"{OWN}{by}", f"finetuned on your own labels{by}", tuner.made, self.learner, tuner.key(self.learner))
        return remembered(made) if self.how.finetune == "all" and not number else made  # another side is built on it

    def short(self, number: int) -> str:
        """The name of a method, with its random views; all of its text where another one is called so too."""
        names = [_name(recipe) for recipe in self.recipes]
        return names[number] if names.count(names[number]) == 1 else self.recipes[number]

    def route_after(self, before: Route) -> Route:
        """The way from where another side ends, by the first method."""
        tuner = self.tuner(self.recipes[0])

        def make(rows: Integers) -> Made:
            return tuner.made(rows, before.make(rows).side.backbone)

        key = f"{tuner.key(self.learner)} after {before.key}" if before.key else ""
        return Route(BOTH, "finetuned on other data, then on your own labels", make, self.learner, key)

    @cached_property
    def settings(self) -> tuple[OwnTuner, ...]:
        """The settings that are chosen among, the usual one first; none where that is not asked for."""
        return tuple(map(self.tuner, self._settings))

    @property
    def _settings(self) -> tuple[str, ...]:
        backbone = self.frozen.side.backbone
        return () if backbone.answers_prompts else self.how.own.settings(backbone.preparation.modality, self.how.finetune)

    def route_chosen(self, count: int, finished: Finished) -> Route:
        """The way to a side in the first `count` settings' best one, chosen anew on inner folds wherever the way is taken."""
        folds = InnerFolds(self.settings[:count], self.learner, finished)
        key = " or ".join(tuner.key(self.learner) for tuner in folds.tuners)
        return Route(CHOSEN, "finetuned on your own labels in settings chosen on inner folds", folds.made, self.learner, key)

    def route_in(self, number: int) -> Route:
        """The way to a side in the settings of this number, which other data chose."""
        tuner = self.settings[number]
        said = "finetuned on your own labels in settings chosen on other data"
        return Route(CHOSEN, said, tuner.made, self.learner, tuner.key(self.learner))


def _first(methods: Mapping[str, Method], kind: type[Head]) -> Method:
    """The first method of a kind, else the first of all."""
    return next((m for m in methods.values() if isinstance(m.learner, kind)), next(iter(methods.values())))


def _name(recipe: str) -> str:
    """A method in words."""
    learner = own_method(recipe).learner
    assert isinstance(learner, Adapt)
    views = any(phase.query_view != IDENTITY for phase in phases_of(learner.phases))
    return recipe.split("(")[0] + " with random views" * views
