"""Affinity of gradients: would a step on the candidate help the target? Asked of one linear map of the frozen features.

The shared weights are a map W [D, D] of the features that starts at the identity. The loss of a task is cross-entropy by the prototypes of
its own rows: logits = temperature x cosine(W x, mean of the unit vectors W x of a class), every row asked against prototypes that it is
part of, so that one shot is enough. At the identity dL/dW = G^T X, G [n, D] the gradient by the mapped features, so gradients are compared
and steps taken by products of rows with rows, and no [D, D] is ever made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.tasks.selection.evidence import Evidence, Floats
from fewtune.tasks.selection.score import rows_and_places
from fewtune.tasks.task import Tasks

_TINY = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class GradientAffinity:
    """cosine(dL_0 / dW, dL_i / dW) at the identity: whether candidate and target pull the same way, in [-1, 1].

    Reference: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020 (the cosine of gradients). Departs: W is a linear map of
    frozen features, not the network's own weights, which a selection does not know.
    """

    temperature: float = 10.0

    def __post_init__(self) -> None:
        _positive("temperature", self.temperature)

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        mine = evidence.support
        target, _ = prototype_gradient(mine, evidence.labels, self.temperature)
        own = _product(target, mine, target, mine)
        found = np.zeros(len(tasks))
        with threadpool_limits(1, "blas"):  # as in a walk through candidates
            for t in range(len(tasks)):
                rows, labels = rows_and_places(tasks, t, evidence)
                slope, _ = prototype_gradient(rows, labels, self.temperature)
                size = math.sqrt(own * _product(slope, rows, slope, rows))
                found[t] = _product(slope, rows, target, mine) / size if size > _TINY else 0.0
        return found


@final
@dataclass(frozen=True, kw_only=True)
class TagAffinity:
    """Z = 1 - L_0(W - rate dL_i / dW) / L_0(W) at the identity: the share of the target's loss that a step on the candidate takes away.

    Reference: Fifty et al., "Efficiently identifying task groupings for multi-task learning" (TAG), NeurIPS 2021. Departs: W is a linear
    map of frozen features, looked at once, at the identity; theirs are a network's shared weights, averaged over training.
    """

    rate: float = 0.1
    temperature: float = 10.0

    def __post_init__(self) -> None:
        _positive("rate", self.rate)
        _positive("temperature", self.temperature)

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        mine, labels = evidence.support, evidence.labels
        before = prototype_gradient(mine, labels, self.temperature)[1]
        found = np.zeros(len(tasks))
        with threadpool_limits(1, "blas"):
            for t in range(len(tasks)):
                rows, local = rows_and_places(tasks, t, evidence)
                slope, _ = prototype_gradient(rows, local, self.temperature)
                moved = mine - self.rate * (mine @ rows.T) @ slope
                after = float(prototype_loss(torch.from_numpy(moved), torch.from_numpy(labels), self.temperature))
                found[t] = 1 - after / before if before > 0 else 0.0
        return found


def prototype_loss(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The mean cross-entropy of features [n, D] by cosine to the prototypes of their own classes."""
    rows = unit(features)
    members = torch.nn.functional.one_hot(labels).to(rows)
    logits = temperature * rows @ unit((members / members.sum(dim=0)).T @ rows).T
    return torch.nn.functional.cross_entropy(logits, labels)


def prototype_gradient(features: Floats, labels: Integers, temperature: float) -> tuple[Floats, float]:
    """(G [n, D], the loss): its gradient by the features."""
    leaf = torch.from_numpy(features).requires_grad_()
    with torch.enable_grad():
        loss = prototype_loss(leaf, torch.from_numpy(labels), temperature)
    (slope,) = torch.autograd.grad(loss, leaf)
    return slope.numpy(), float(loss.detach())


def _product(a: Floats, x: Floats, b: Floats, y: Floats) -> float:
    """<a^T x, b^T y> of two gradients of W."""
    return float(((a @ b.T) * (x @ y.T)).sum())


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"expected a {name} above 0, found {value}.")
