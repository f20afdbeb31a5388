"""Route: a way from labelled examples to a model, which can be taken again with fewer of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.learners.side import Side
from fewtune.learning.method import Method
from fewtune.models.finetuned_weights import Change

FROZEN = "frozen"


@final
@dataclass(frozen=True, eq=False)
class Made:
    """A side, and what finetuning `moved` for it (None: nothing)."""

    side: Side
    moved: Change | None


@final
@dataclass(frozen=True, eq=False)
class Route:
    """`make(rows)` gives the side that has seen the labels of these rows alone; `said`: what was done, as the end of "the model ...".
    `key`: a text of all that the side depends on beside the rows. `made`: whether the side of all labelled rows is there already.

    `learner`: what answers on it. None where it is chosen anew on the rows. Features that were finetuned on the labels themselves cannot
    choose a learner: every learner looks perfect on them, so it is fixed.
    """

    name: str
    said: str
    make: Callable[[Integers], Made]
    learner: Method | None = None
    key: str = ""
    made: bool = False


def remembered(route: Route) -> Route:
    """The same route. What it makes of the same rows it makes once, and keeps."""
    known: dict[bytes, Made] = {}

    def make(rows: Integers) -> Made:
        found = known.get(rows.tobytes())
        if found is None:
            found = known[rows.tobytes()] = route.make(rows)
        return found

    return replace(route, make=make)


def side_of(backbone: Backbone, space: RowSpace, rows: Integers) -> Side:
    """Some rows of a row space by a backbone; rows that are not asked for have features of zero."""
    with torch.no_grad():
        found: Tensor = backbone.embed(backbone.start(), space, rows).cpu()
    features = torch.zeros(len(space), found.shape[1])
    features[torch.from_numpy(rows)] = found
    return Side(backbone, features)


class OutOfTimeError(Exception):
    """The budget ended."""
