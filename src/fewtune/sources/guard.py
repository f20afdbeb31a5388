"""The guard on classes of the sources: a finetuned side is judged on things to learn that nothing was learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.learners.side import Side
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.learning.on_features import correct_on_table
from fewtune.sides.guard import LEVEL, ON_SOURCES, Guard
from fewtune.statistics import t_interval
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Vectors: TypeAlias = Mapping[tuple[str, ...], Tensor]


def guard_on_sources(
    methods: Mapping[str, Method],
    frozen: Side,
    finetuned: Side,
    class_names: Sequence[str],
    validation: Sequence[Episodes],
    judging: Sequence[Episodes],
) -> Guard:
    """Episodes like the target's on classes of the sources that nothing was learned from. `class_names`: of the sources, by global class
    id.

    On either side the learner that is best on the `validation` episodes answers the `judging` ones. The interval is a t interval over the
    judging classes: what counts is how the gain differs between things to learn, not between draws of the same rows. Classes are few, and a
    bootstrap over two of them would keep a third of the sides that differ by chance alone (see `Guard` for what is asked beside it).
    """
    by_class, learners = [], []
    for side in (frozen, finetuned):
        vectors = _pool_vectors(side, methods.values(), [*validation, *judging], class_names)
        means = {name: float(np.mean([_correct(side, m, e, vectors)[1].mean() for e in validation])) for name, m in methods.items()}
        best = max(means, key=lambda name: means[name])
        learners.append(best)
        by_class.append(_by_class(side, methods[best], judging, vectors))
    differences = by_class[1] - by_class[0]
    return Guard(
        where=ON_SOURCES,
        gain=t_interval(differences, LEVEL),
        frozen=float(by_class[0].mean()),
        finetuned=float(by_class[1].mean()),
        differences=differences,
        learners=((learners[0], learners[1]),),
    )


def _pool_vectors(side: Side, methods: Iterable[Method], batches: Sequence[Episodes], class_names: Sequence[str]) -> Vectors:
    """Class vectors by the templates they are read through: [C, D] by global class id, zeros for classes that do not occur."""
    ids = np.unique(np.concatenate([e.classes.numpy().reshape(-1) for e in batches]))
    ids = ids[ids >= 0]
    found = vectors_by_prompts(side.backbone, [class_names[c] for c in ids.tolist()], methods)
    place = torch.from_numpy(ids)
    return {
        prompts: known.new_zeros(len(class_names), known.shape[1]).index_copy(0, place.to(known.device), known)
        for prompts, known in found.items()
    }


def _by_class(side: Side, method: Method, batches: Sequence[Episodes], vectors: Vectors) -> Floats:
    """Mean correctness of the queries of every class that occurs, in the order of the class ids."""
    found = [_correct(side, method, episodes, vectors) for episodes in batches]
    classes, correct = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, index = np.unique(classes, return_inverse=True)
    means: Floats = np.bincount(index, weights=correct) / np.bincount(index)
    return means


def _correct(side: Side, method: Method, episodes: Episodes, vectors: Vectors) -> tuple[Integers, Floats]:
    """(global class, correctness) of every query of some episodes."""
    right = correct_on_table(method.head, side.features, episodes, vectors.get(prompts_of(method.head))).cpu().numpy()
    inside = (episodes.query_label >= 0).numpy()
    classes = episodes.classes.gather(1, episodes.query_label.clamp_min(0)).numpy()
    return classes[inside], right[inside].astype(np.float64)
