"""The Gram matrix of the tasks' gradients, which is all that gradient surgery needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.features import exact

_COLUMNS = 1 << 16  # numbers of each gradient that are widened at a time


def gram(gradients: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "T T"]:
    """G[i, j] = g_i . g_j over all names, float64 (float32 where the device has none), without gradient.

    `gradients`: one flat dictionary a task present. A name that a task lacks counts as zero there (a head of
    another task). Products are summed in float64 a block at a time, so norms from 1e-150 to 1e150 neither overflow nor vanish.
    """
    if not gradients:
        return torch.zeros(0, 0, dtype=torch.float64)
    total: Tensor | None = None
    for name in dict.fromkeys(name for gradient in gradients for name in gradient):
        like = next(gradient[name] for gradient in gradients if name in gradient)
        flat = [gradient[name].detach().reshape(-1) if name in gradient else None for gradient in gradients]
        for start in range(0, like.numel(), _COLUMNS):
            width = min(_COLUMNS, like.numel() - start)
            block = torch.stack([exact(like.new_zeros(width) if g is None else g[start : start + width]) for g in flat])
            total = block @ block.mT if total is None else total.addmm_(block, block.mT)
    if total is None:
        return torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    return (total + total.mT) / 2  # exactly symmetric
