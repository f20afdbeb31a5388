"""The Gram matrix of the gradients of one linear layer, from what comes in and what comes back, without the T gradients themselves.

A layer z = W a maps N rows a_n. The gradient of task t by W is sum_n d_tn a_n', with d_tn = dL_t / dz_n, so
g_i . g_j = sum_nm (d_in . d_jm) (a_n . a_m). Reference: Goodfellow, "Efficient per-example gradient computations", 2015 (the same trick for
the norms of examples).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_ENTRIES = 1 << 22  # numbers of gradients that are held at a time


def layer_gram(rows: Float[Tensor, "N i"], back: Float[Tensor, "T N o"]) -> Float[Tensor, "T T"]:
    """G [T, T], float64 (float32 where the device has none): exact but for rounding. `rows`: a; `back`: d.

    Products are in the dtype of the rows, after dividing by the largest entry of each, so sizes from 1e-30 to 1e30 neither overflow nor
    vanish. The cheapest of three orders of multiplication is taken.
    """
    T, N, o = back.shape
    wide = torch.float32 if rows.device.type == "mps" else torch.float64
    if not N or not T:
        return torch.zeros(T, T, dtype=wide, device=rows.device)
    tiny = torch.finfo(rows.dtype).tiny
    sizes, size = back.abs().amax(dim=(1, 2)).clamp_min(tiny), rows.abs().amax().clamp_min(tiny)
    a, d = rows / size, back / sizes[:, None, None]
    i = a.shape[1]
    by_pairs, by_tasks, by_gradients = N * N * (i + o), N * N * (i + T * o) + T * T * N * o, T * N * i * o + T * T * i * o
    if by_pairs < by_gradients and _apart(d):
        found = _by_pairs(a, d)
    elif by_tasks <= by_gradients:
        flat = (a @ a.mT @ d).reshape(T, -1)
        found = (d.reshape(T, -1) @ flat.mT).to(wide)
    else:
        found = _by_gradients(a, d, wide)
    scale = sizes.to(wide) * size.to(wide)
    return (found + found.mT) / 2 * (scale[:, None] * scale)


def _apart(back: Tensor) -> bool:
    """Whether no row comes back to more than one task, as where each task has a batch of its own."""
    return int((back != 0).any(dim=2).sum(dim=0).max()) <= 1


def _by_pairs(rows: Tensor, back: Tensor) -> Tensor:
    whole = back.sum(dim=0)
    owner = (back != 0).any(dim=2).to(torch.float64 if back.device.type != "mps" else torch.float32)
    pairs = (whole @ whole.mT) * (rows @ rows.mT)
    return owner @ pairs.to(owner) @ owner.mT


def _by_gradients(rows: Tensor, back: Tensor, wide: torch.dtype) -> Tensor:
    """The gradients themselves, of a few outputs at a time; a task's own rows alone."""
    T, _, o = back.shape
    found = torch.zeros(T, T, dtype=wide, device=rows.device)
    mine = [(back[t] != 0).any(dim=1).nonzero()[:, 0] for t in range(T)]
    inside = [rows[place] for place in mine]
    step = max(1, _ENTRIES // (T * rows.shape[1]))
    for start in range(0, o, step):
        each = [back[t, place, start : start + step].mT @ its for t, (place, its) in enumerate(zip(mine, inside, strict=True))]
        some = torch.stack(each).reshape(T, -1)
        found += (some @ some.mT).to(wide)
    return found
