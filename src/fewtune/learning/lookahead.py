"""How tasks act on each other at given weights: what one task's step does to the losses of all, and how their gradients agree.

Reference: Fifty et al., "Efficiently identifying task groupings for multi-task learning" (TAG), NeurIPS 2021, equation 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError

Weights: TypeAlias = Mapping[str, Tensor]
Losses: TypeAlias = Callable[[Weights], Float[Tensor, " T"]]


@final
@dataclass(frozen=True, eq=False)
class Look:
    """One look at T tasks. `losses` [T]. `help` [T, T]: help[i, j] = 1 - L_j after task i's step / L_j, above 0 where i helps j (the
    diagonal: what a task's own step does for it). `cosine` [T, T]: of the gradients by the shared weights, NaN where one is zero.
    `shared`: the names that tasks share.
    """

    losses: Float[Tensor, " T"]
    help: Float[Tensor, "T T"]
    cosine: Float[Tensor, "T T"]
    shared: tuple[str, ...]


def look_ahead(losses: Losses, weights: Weights, moving: tuple[str, ...], rate: float) -> Look:
    """Z_ij = 1 - L_j(shared - rate grad L_i, own_j) / L_j(shared, own_j) on one batch, for all pairs of tasks.

    `losses` gives the loss of each task [T], all above 0 (a task whose loss is 0 has help NaN); `moving`: the names that may move. A name
    is shared if the gradients of two tasks meet in some entry of it; the others (each task's own outputs) stay as they are. `rate` is that
    of a plain gradient step: for a small one, help[i, j] is about rate g_i.g_j / L_j. T backward passes and T + 1 forward passes.
    """
    if not rate > 0:
        raise InputError(f"expected a rate of the look ahead above 0, found {rate:g}.")
    held = {n: t.detach() for n, t in weights.items()}
    leaves = {n: held[n].clone().requires_grad_() for n in moving}
    with torch.enable_grad():
        before = losses({**held, **leaves})
        slopes = [torch.autograd.grad(one, list(leaves.values()), retain_graph=True, allow_unused=True) for one in before]
    by_name = {n: [g if g is not None else torch.zeros_like(leaves[n]) for g in each] for n, *each in zip(leaves, *slopes, strict=True)}
    shared = {n: each for n, each in by_name.items() if _meet(each)}
    before = before.detach()
    with torch.no_grad():
        ended = [losses({**held, **{n: held[n] - rate * each[i] for n, each in shared.items()}}) for i in range(len(before))]
        after = torch.stack(ended)
    gram = sum((_products(each) for each in shared.values()), torch.zeros(len(before), len(before), dtype=torch.float64))
    size = gram.diagonal().sqrt()
    return Look(before, 1 - after / before, gram / torch.outer(size, size), tuple(shared))


def _meet(gradients: list[Tensor]) -> bool:
    """Whether two of the gradients are not zero in the same entry."""
    return bool((torch.stack([g != 0 for g in gradients]).sum(0) > 1).any())


def _products(gradients: list[Tensor]) -> Float[Tensor, "T T"]:
    rows = torch.stack([g.flatten() for g in gradients]).double().cpu()
    return rows @ rows.T
