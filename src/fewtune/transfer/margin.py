"""Margins and norms: how far rows are from a decision boundary, at the head and at a layer below, and how large the weights are.

Reference: Elsayed, Krishnan, Mobahi, Regan, Bengio, "Large margin deep networks for classification", NeurIPS 2018 (margin at a layer).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.backbones.groups import Groups
from fewtune.errors import InputError


def margins(logits: Float[Tensor, "N K"], labels: Int[Tensor, " N"], weight: Float[Tensor, "K D"] | None = None) -> Float[Tensor, " N"]:
    """The margin of each row at the head: logit of its class minus the largest other logit; below 0 where the row is wrong.

    With the `weight` of a linear head it is a distance: min over other classes j of (logit_y - logit_j) / |w_y - w_j|, how far the features
    are from the nearest boundary (Euclidean, in the units of the features). Raises InputError for fewer than two classes.

    >>> margins(torch.tensor([[2.0, 0.0], [1.0, 4.0]]), torch.tensor([0, 0]))
    tensor([ 2., -3.])
    """
    _check(logits, labels)
    gaps = logits.gather(1, labels[:, None]) - logits
    if weight is not None:
        # by differences: |a|^2 - 2 ab + |b|^2, which is faster, loses the distance of nearly equal rows
        apart = torch.cdist(weight[labels].to(logits), weight.to(logits), compute_mode="donot_use_mm_for_euclid_dist")
        gaps = gaps / apart.clamp_min(torch.finfo(gaps.dtype).tiny)
    return gaps.scatter(1, labels[:, None], torch.inf).min(1).values


def layer_margins(above: Callable[[Tensor], Tensor], activations: Float[Tensor, "N ..."], labels: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The margin at a layer, to first order: min over other classes j of (f_y - f_j) / |gradient of (f_y - f_j) by the activations|.

    `above`: the rest of the network, from activations [N, ...] to logits [N, K]; each row depends on its own activations alone. For a
    linear `above` this is the exact distance. K - 1 backward passes.
    """
    held = activations.detach().requires_grad_()
    with torch.enable_grad():
        logits = above(held)
        _check(logits, labels)
        found = logits.new_full((len(labels),), torch.inf).detach()
        for j in range(logits.shape[1]):
            gap = logits.gather(1, labels[:, None])[:, 0] - logits[:, j]
            (slope,) = torch.autograd.grad(gap.sum(), held, retain_graph=True)
            size = slope.flatten(1).norm(dim=1).clamp_min(torch.finfo(gap.dtype).tiny)
            found = torch.where(labels == j, found, torch.minimum(found, gap.detach() / size))
    return found


def layer_norms(weights: Mapping[str, Tensor], groups: Groups) -> dict[str, float]:
    """The Euclidean norm of all weights of each group, from input to output."""
    return {title: math.sqrt(sum(float(weights[n].double().square().sum()) for n in members if n in weights)) for title, members in groups}


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1]:
        raise InputError(
            f"a margin is of logits [rows, at least 2 classes] and labels [rows], found {list(logits.shape)} and {list(labels.shape)}."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise InputError(f"expected labels from 0 to {logits.shape[1] - 1}, found {int(labels.min())} to {int(labels.max())}.")
