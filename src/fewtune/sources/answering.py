"""What learners answer to episodes of the sources' classes, on the features of a side."""

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
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Vectors: TypeAlias = Mapping[tuple[str, ...], Tensor]


def vectors_of_classes(side: Side, methods: Iterable[Method], batches: Sequence[Episodes], class_names: Sequence[str]) -> Vectors:
    """Class vectors by the templates they are read through: [C, D] by global class id, zeros for classes that do not occur."""
    ids = np.unique(np.concatenate([e.classes.numpy().reshape(-1) for e in batches]))
    ids = ids[ids >= 0]
    found = vectors_by_prompts(side.backbone, [class_names[c] for c in ids.tolist()], methods)
    place = torch.from_numpy(ids)
    return {
        prompts: known.new_zeros(len(class_names), known.shape[1]).index_copy(0, place.to(known.device), known)
        for prompts, known in found.items()
    }


def mean_accuracies(side: Side, methods: Mapping[str, Method], batches: Sequence[Episodes], vectors: Vectors) -> dict[str, float]:
    """The accuracy of each learner, in [0, 1]; each batch of episodes has the same weight."""
    return {
        name: float(np.mean([answered(side, method, episodes, vectors)[1].mean() for episodes in batches]))
        for name, method in methods.items()
    }


def accuracies_by_class(side: Side, method: Method, batches: Sequence[Episodes], vectors: Vectors) -> Floats:
    """Mean correctness of the queries of every class that occurs, in the order of the class ids."""
    found = [answered(side, method, episodes, vectors) for episodes in batches]
    classes, correct = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, index = np.unique(classes, return_inverse=True)
    means: Floats = np.bincount(index, weights=correct) / np.bincount(index)
    return means


def answered(side: Side, method: Method, episodes: Episodes, vectors: Vectors) -> tuple[Integers, Floats]:
    """(global class, correctness) of every query of some episodes."""
    right = correct_on_table(method.head, side.features, episodes, vectors.get(prompts_of(method.head))).cpu().numpy()
    inside = (episodes.query_label >= 0).numpy()
    classes = episodes.classes.gather(1, episodes.query_label.clamp_min(0)).numpy()
    return classes[inside], right[inside].astype(np.float64)
