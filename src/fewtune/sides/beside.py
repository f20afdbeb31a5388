"""A side made of two: the features of the frozen and of a finetuned model next to each other, read by a ridge regression."""

from __future__ import annotations

import torch

from fewtune.backbones.beside import beside
from fewtune.data.examples import Integers
from fewtune.learners.side import Side
from fewtune.learning.method import Method
from fewtune.models.finetuned_weights import Members, Moved
from fewtune.parts.heads import Ridge
from fewtune.sides.route import Made, Route

BESIDE = "ridge on the features of both"


def beside_frozen(frozen: Side, tuned: Route) -> Route:
    """The way to the features of the `frozen` side and of a `tuned` one side by side. Only what `tuned` makes sees labels."""

    def make(rows: Integers) -> Made:
        made = tuned.make(rows)
        assert made.moved is None or isinstance(made.moved, Moved)
        both = Side(beside([frozen.backbone, made.side.backbone]), torch.cat([frozen.features, made.side.features], dim=1))
        return Made(both, Members(parts=(None, made.moved)))

    said = f"that has the features of the frozen model and of the one {tuned.said}"
    return Route(BESIDE, said, make, Method(learner=Ridge(penalty="loo")), f"{BESIDE} {tuned.key}" if tuned.key else "")
