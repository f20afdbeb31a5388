"""The Gram matrix of the gradients of one linear layer, from what comes in and what comes back, without the T gradients themselves.

A layer z = W a maps N rows a_n. The gradient of task t by W is sum_n d_tn a_n', with d_tn = dL_t / dz_n, so
g_i . g_j = sum_nm (d_in . d_jm) (a_n . a_m). Reference: Goodfellow, "Efficient per-example gradient computations", 2015 (the same trick for
the norms of examples). Products are in the dtype of the rows; the cheapest order of multiplication is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ENTRIES = 1 << 20  # numbers of gradients that are held at a time
_PLAIN = (1e-8, 1e8)  # between these sizes no product of two entries overflows or vanishes in float32


def layer_gram(rows: Float[Tensor, "N i"], back: Float[Tensor, "T N o"]) -> Float[Tensor, "T T"]:
    """G [T, T], float64 (float32 where the device has none): exact but for rounding. `rows`: a; `back`: d."""
    T, N, o = back.shape
    if not N or not T:
        return torch.zeros(T, T, dtype=_wide(rows), device=rows.device)
    i = rows.shape[1]
    largest = _largest(back)
    used = largest != 0
    own = used.sum(dim=1)
    if int(used.sum(dim=0).max()) <= 1 and N * N * (i + o) < int(own.sum()) * i * o + T * T * i * o:
        return owned_gram(rows, back.sum(dim=0), used.int().argmax(dim=0), T)
    size, sizes = _size(rows.abs().max()), _size(largest.amax(dim=1))
    a, d = _divided(rows, size), _divided(back, sizes[:, None, None])
    if N * N * (i + T * o) + T * T * N * o <= int(own.sum()) * i * o + T * T * i * o:
        found = (d.reshape(T, -1) @ (a @ a.mT @ d).reshape(T, -1).mT).to(_wide(rows))
    else:
        mine = [each.nonzero()[:, 0] for each in used]
        found = _by_gradients([a[place] for place in mine], [d[t, place] for t, place in enumerate(mine)])
    return _back_to_size(found, sizes, size)


def owned_gram(rows: Float[Tensor, "N i"], back: Float[Tensor, "N o"], owner: Int[Tensor, " N"], tasks: int) -> Float[Tensor, "T T"]:
    """As `layer_gram`, where each row comes back to one task, `owner`, with the gradient `back`."""
    N, i, o = len(rows), rows.shape[1], back.shape[1]
    members = (owner == torch.arange(tasks, device=owner.device)[:, None]).to(_wide(rows))
    if not N:
        return members @ members.mT
    largest = torch.zeros(tasks, dtype=back.dtype, device=back.device)
    size, sizes = _size(rows.abs().max()), _size(largest.scatter_reduce(0, owner, back.abs().amax(dim=1), "amax"))
    a, d = _divided(rows, size), _divided(back, sizes[owner][:, None])
    if N * N * (i + o) <= N * i * o + tasks * tasks * i * o:
        found = members @ ((d @ d.mT) * (a @ a.mT)).to(members) @ members.mT
    else:
        mine = [each.nonzero()[:, 0] for each in members]
        found = _by_gradients([a[place] for place in mine], [d[place] for place in mine])
    return _back_to_size(found, sizes, size)


def _by_gradients(rows: Sequence[Tensor], back: Sequence[Tensor]) -> Tensor:
    """From the gradients themselves, of a few outputs at a time; each task has its own rows [n, i] and back [n, o]."""
    T, i, o = len(rows), rows[0].shape[1], back[0].shape[1]
    found = torch.zeros(T, T, dtype=_wide(rows[0]), device=rows[0].device)
    step = max(1, _ENTRIES // (T * i))
    for start in range(0, o, step):
        some = torch.stack([d[:, start : start + step].mT @ a for a, d in zip(rows, back, strict=True)]).reshape(T, -1)
        found += (some @ some.mT).to(found)
    return found


def _largest(back: Tensor) -> Tensor:
    """The largest size of an entry [T, N]; where none is 0 or out of `_PLAIN`, an upper bound in `_PLAIN`, in a third of the time."""
    bound = torch.linalg.vector_norm(back, dim=2)
    safe = bound.numel() > 0 and bool(((bound > _PLAIN[0]) & (bound < _PLAIN[1])).all())
    return bound if safe else back.abs().amax(dim=2)


def _wide(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64


def _size(largest: Tensor) -> Tensor:
    """What to divide by: the largest entries, or 1 where all are of a size at which products are safe."""
    safe = (largest > _PLAIN[0]) & (largest < _PLAIN[1])
    return torch.where(safe | (largest == 0), 1.0, largest)


def _divided(values: Tensor, by: Tensor) -> Tensor:
    return values if bool((by == 1).all()) else values / by


def _back_to_size(found: Tensor, sizes: Tensor, size: Tensor) -> Tensor:
    scale = sizes.to(found) * size.to(found)
    return (found + found.mT) / 2 * (scale[:, None] * scale)
