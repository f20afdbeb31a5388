"""Methods for several label columns: how many outputs each column has, which only the data says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewtune.backbones.backbone import Backbone
from fewtune.learning.budget import each_phase
from fewtune.learning.classes import class_vectors
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase
from fewtune.parts.sharing import Sharing
from fewtune.tasks.per_task import PerTask


def laid_out(method: Method, outputs: Sequence[int], seed: int = 0) -> Method:
    """The method for label columns with so many outputs each: a class column has one a class, a number has one, labels one a label.

    Every head that shares between columns has these `outputs` and begins with weights by `seed`. A phase that draws a batch of each
    column in turn (`PerTask`) draws from all of them in every step. Other methods stay as they are.
    """

    def phase(one: Phase) -> Phase:
        found = replace(one, learner=_learner(one.learner, outputs, seed))
        if not isinstance(one.learner, Sharing) or not isinstance(one.sampler, PerTask):
            return found
        rounds = max(1, one.batch // max(1, len(one.learner.outputs)))  # batches of each column in a step
        return replace(found, batch=rounds * len(outputs))

    return replace(method, phases=each_phase(method.phases, phase), learner=_learner(method.learner, outputs, seed))


def is_sharing(method: Method) -> bool:
    """Whether a method is for several label columns."""
    return any(isinstance(head, Sharing) for head in method.heads)


def task_vectors(backbone: Backbone, names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """A vector for each label column from its name or description, by a backbone that embeds texts: `descriptors` of a head.

    >>> Film(descriptors=task_vectors(backbone, ["rating from 1 to 10", "is it a comedy"]))  # doctest: +SKIP

    Unit vectors, rounded to 6 digits so that the text of a method can be read back. Raises InputError where the backbone embeds no texts.
    """
    found = class_vectors(backbone, backbone.start(), names, ("{}",))
    return tuple(tuple(round(float(value), 6) for value in vector) for vector in found.detach().cpu())


def _learner(learner: Any, outputs: Sequence[int], seed: int) -> Any:
    if isinstance(learner, Adapt):
        inner = each_phase(learner.phases, lambda one: replace(one, learner=_learner(one.learner, outputs, seed)))
        return replace(learner, phases=inner, then=_learner(learner.then, outputs, seed))
    sharing: Any = learner
    return replace(sharing, outputs=tuple(map(int, outputs)), seed=seed) if isinstance(learner, Sharing) else learner
