"""Side: a backbone with its features, and the best learner on them. The frozen and the finetuned model are compared as two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Integers
from fewtune.learners.choice import Choice, choose_learner
from fewtune.learners.labelled import Labelled
from fewtune.learners.usual import alone_of, prior_of
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method


@final
@dataclass(frozen=True, eq=False)
class Side:
    """A backbone, frozen or finetuned, and its features [N, D] of the rows of the target or of a row space."""

    backbone: Backbone
    features: Tensor

    def vectors(self, method: Method, class_names: Sequence[str]) -> Tensor | None:
        """The class vectors [K, D] that a method reads, or None."""
        return vectors_by_prompts(self.backbone, class_names, [method]).get(prompts_of(method.head))

    def choose(
        self,
        methods: Mapping[str, Method],
        rows: Integers,
        labels: Integers,
        class_names: Sequence[str],
        seed: int,
        *,
        folds: int = 5,
        fallback: str | None = None,
    ) -> Choice:
        """The best learner on these rows alone; `fallback` where nothing can be held out, by default the usual one."""
        known = vectors_by_prompts(self.backbone, class_names, methods.values())
        return choose_learner(
            methods,
            Labelled(self.features, rows, labels, len(class_names)),
            vectors=lambda method: known.get(prompts_of(method.head)),
            fallback=fallback or alone_of(methods),
            prior=prior_of(methods),
            seed=seed,
            folds=folds,
        )
