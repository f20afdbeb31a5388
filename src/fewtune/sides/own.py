"""Finetuning on the target's own labels: a method that trains on a support, with all labelled examples as the support."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning import declared
from fewtune.learning.budget import each_phase
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Step, phases_of
from fewtune.models.finetuned_weights import what_moved
from fewtune.recipes.language import read_method
from fewtune.sides.route import Made
from fewtune.spec import text
from fewtune.tasks.episodes import Episodes

LEAST_STEPS, LEAST_ROWS = 50, 32  # of a run that is worth its time


def own_method(recipe: str) -> Method:
    """The method that a text spells. Raises InputError unless it trains on the labelled examples themselves."""
    method = read_method(recipe)
    if method.phases or not isinstance(method.learner, Adapt):
        raise InputError(f"{recipe!r} does not train on your own labels: expected a method such as contrastive(on='support').")
    return method


def _check_numbers(what: str, tensors: Iterable[Tensor]) -> None:
    """Raise Diverged where these are not finite."""
    if not all(bool(torch.isfinite(t).all()) for t in tensors):
        raise Diverged(f"finetuning on your own labels ended with {what} that are no numbers: give a lower learning rate (lr).")


@final
@dataclass(frozen=True, eq=False)
class OwnTuner:
    """Finetunes on some labelled rows of a target, always in the same way. `method`: as `own_method` reads it. `space`: the target's rows.

    `backbone`: what a model's weights are compared with in the end, so that a saved model says all that moved.
    """

    target: Target
    space: RowSpace
    backbone: Backbone
    method: Method
    seed: int = 0
    grounds: list[Ground] = field(default_factory=list)  # with what lies below the moving weights, kept for all folds

    def made(self, rows: Integers, start: Backbone | None = None) -> Made:
        """The side that has seen the labels of these rows alone, from `start` (by default the backbone as it came).

        Features are of the target's labelled rows; others are zero. Raises Diverged where a weight or a feature is no number in the end.
        """
        ground, adapt = self._ground(start or self.backbone), self._adapt
        weights = ground.start()
        with torch.no_grad():
            own = tune(ground, adapt, weights, self._episode(rows), key(self.seed, "own labels"))
        ended = {**weights, **{n: t.detach() for n, t in own.items()}}
        _check_numbers("weights", [ended[n] for n in own])
        features = self._features(ground, ended)
        _check_numbers("features", [features])
        moved = what_moved(self.backbone, ended, self.method.edits)
        backbone = self.backbone if moved is None else moved.onto(self.backbone)
        return Made(Side(backbone, features), moved)

    def key(self, learner: Method) -> str:
        """A text of all that the answers of `learner` on a side depend on beside the rows, for `Route.key`."""
        return f"{text(self.method)} {text(learner)} {self.backbone.digest()}"

    @property
    def steps(self) -> int:
        """Updates of one run."""
        return sum(phase.steps for phase in phases_of(self._adapt.phases))

    @property
    def phases(self) -> int:
        """Training loops of one run."""
        return len(phases_of(self._adapt.phases))

    @property
    def batch(self) -> int:
        """Rows that an update sees, at most."""
        return max(getattr(phase.sampler, "batch", 0) or sys.maxsize for phase in phases_of(self._adapt.phases))

    @property
    def _adapt(self) -> Adapt:
        assert isinstance(self.method.learner, Adapt)
        return self.method.learner

    def of_steps(self, steps: int) -> OwnTuner:
        """The same with so many steps in each phase, for measuring its speed."""
        phases: tuple[Step, ...] = each_phase(self._adapt.phases, lambda phase: replace(phase, steps=min(steps, phase.steps)))
        return replace(self, method=replace(self.method, learner=replace(self._adapt, phases=phases)))

    def of_rows(self, rows: Integers) -> OwnTuner:
        """The same for a target with these labelled rows alone, for measuring its speed."""
        return replace(self, target=replace(self.target, support=rows))

    def _ground(self, start: Backbone) -> Ground:
        """What runs on `start`. On the backbone as it came, what no step changes is computed once a row, for all folds; another start is
        one fold's own, and is not kept."""
        if start is self.backbone and self.grounds:
            return self.grounds[0]
        bare = Ground(start, self.space, self.method.edits)
        weights = bare.start()
        held = bare.holding(weights, declared.inner_moving(bare, self._adapt, weights))
        if start is self.backbone:
            self.grounds.append(held)
        return held

    def _episode(self, rows: Integers) -> Episodes:
        """These rows as the support of one episode without queries; classes by their ids in the row space."""
        known = {name: i for i, name in enumerate(self.space.class_names)}
        classes = torch.tensor([[known[name] for name in self.target.class_names]])
        support, labels = torch.from_numpy(rows)[None], torch.from_numpy(self.target.labels[rows])[None]
        return Episodes(support, labels, support[:, :0], labels[:, :0], classes, torch.zeros(1, dtype=torch.int64))

    def _features(self, ground: Ground, weights: dict[str, Tensor]) -> Tensor:
        rows = self.target.support
        with torch.no_grad():
            found = ground.embed(weights, torch.from_numpy(rows)[None])[0].float().cpu()
        features = torch.zeros(len(self.space), found.shape[1])
        features[torch.from_numpy(rows)] = found
        return features
