"""What an answer can have beside its label, on request: whether the row is unknown, a set of likely classes, the nearest labelled
examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.models.bundle import Bundle
from fewtune.models.support import Support
from fewtune.statistics import unlike
from fewtune.words import option

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

FALSE_REJECTION = 0.05
LEAST_KNOWN = 19  # examples: with fewer, a rate of 5% cannot be promised
_BLOCK = 1024  # rows that are compared at once


@final
@dataclass(frozen=True)
class Near:
    """A labelled example near to a row: its `name`, its `label`, and the cosine `similarity` of its features, -1 to 1. `text`: the
    beginning of a text, "" for other data."""

    name: str
    label: str
    similarity: float
    text: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is asked for. `unknown`: reject rows that are like no labelled example. `sets` in (0, 1): how often a set of classes holds the
    right one. `explain`: how many of the nearest labelled examples to name."""

    unknown: bool = False
    sets: float | None = None
    explain: int = 0

    def check_values(self) -> None:
        """Raise InputError for numbers out of range."""
        if self.sets is not None and not 0 < self.sets < 1:
            raise InputError(f"expected {option('--sets 0.9')} between 0 and 1, found {self.sets:g}.")
        if self.explain < 0:
            raise InputError(f"expected {option('--explain')} of 1 example or more, found {self.explain}.")

    def check(self, bundle: Bundle) -> None:
        """Raise InputError for what this model cannot say."""
        self.check_values()
        if self.unknown:
            known = known_features(bundle)
            if len(known) < LEAST_KNOWN:
                raise InputError(
                    f"this model was learned from {len(known)} examples: to reject unknown ones, at least {LEAST_KNOWN} are needed, so "
                    f"that at most {100 * FALSE_REJECTION:.0f}% of new ones like them are rejected too."
                )
        if self.sets is not None and (bundle.support is None or bundle.support.held is None):
            raise InputError(
                "this model holds no answers to held-out examples, which sets of classes need: make it again with `fewtune adapt`, with "
                "two or more examples of each class."
            )
        if self.explain:
            _support(bundle)


NO_EXTRAS = Extras()


def _support(bundle: Bundle) -> Support:
    if bundle.support is None or not bundle.support.names:
        raise InputError("this model was saved without the names of its labelled examples: make it again with `fewtune adapt`.")
    return bundle.support


def known_features(bundle: Bundle) -> Float[Tensor, "S D"]:
    """The features of the labelled examples by which unknown rows are recognised: by a backbone that has not seen their labels.

    Raises InputError where there are none.
    """
    support = bundle.support
    if support is None:
        raise InputError("this model was saved without the examples it was learned from: make it again with `fewtune adapt`.")
    if support.apart is not None:
        return support.apart
    if bundle.moved is not None and bundle.facts.get("labels_moved") is not False:
        raise InputError(
            "this model cannot recognise unknown inputs: it was finetuned on its labelled examples, and their features by another backbone "
            "are not kept. Make it again with `fewtune adapt`, or with --finetune never."
        )
    return support.features


def rejected(bundle: Bundle, features: Float[Tensor, "N D"]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each row [N] is like no labelled example. `features`: of the kind of `known_features`.

    The score of a row is its cosine distance to the nearest labelled example; that of a labelled example is to the nearest other one (leave
    one out). A row is rejected where at most 5% of such scores are as large, see `statistics.unlike`: of new rows that are drawn like the
    labelled ones, classes as often and no near-copies among them, at most 5% are rejected, for any number of examples.
    """
    known = known_features(bundle)
    own = 1 - _similarities(known, known, without_self=True).max(1)
    return unlike(1 - _similarities(features, known).max(1), own) <= FALSE_REJECTION


def _similarities(rows: Float[Tensor, "N D"], known: Float[Tensor, "S D"], *, without_self: bool = False) -> Floats:
    """Cosines [N, S]; -1 on the diagonal for `without_self`."""
    a, b = (torch.nn.functional.normalize(x.double(), dim=1) for x in (rows.cpu(), known))
    found = torch.cat([part @ b.T for part in torch.split(a, _BLOCK)]).clamp(-1, 1)
    if without_self:
        found.fill_diagonal_(-1)
    made: Floats = found.numpy()
    return made


def sets_of(bundle: Bundle, p: Float[Tensor, "N K"], level: float) -> list[tuple[str, ...]]:
    """The classes, the likeliest first, whose probability is at least what `statistics.least_probability` says; never none."""
    assert bundle.support is not None and bundle.support.held is not None
    least = bundle.support.held.least(level)
    found = []
    for row in p.double().cpu().numpy():
        order = np.argsort(-row, kind="stable")
        found.append(tuple(bundle.class_names[k] for place, k in enumerate(order) if place == 0 or row[k] >= least))
    return found


def nearest_examples(bundle: Bundle, features: Float[Tensor, "N D"], count: int) -> list[tuple[Near, ...]]:
    """The `count` labelled examples most like each row, by the cosine of their features, the most alike first.

    Raises InputError where the model was saved without their names.
    """
    support = _support(bundle)
    found = []
    for part in torch.split(features, _BLOCK):
        near = _similarities(part, support.features)
        order = np.argsort(-near, axis=1, kind="stable")[:, :count]
        found += [tuple(_near(bundle, support, int(place), row[place]) for place in mine) for row, mine in zip(near, order, strict=True)]
    return found


def _near(bundle: Bundle, support: Support, place: int, similarity: float) -> Near:
    text = "" if support.texts is None else support.texts[place]
    return Near(support.names[place], bundle.class_names[support.labels[place]], float(similarity), text)
