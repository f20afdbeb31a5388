"""Attention for episodes with their own weights, and for gradients of second order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Inside, attention uses its plain kernel: the fused kernels have no second derivative and do not work under vmap.

    The fast path of nn.MultiheadAttention and nn.TransformerEncoder is switched off too: it has no derivative, but under vmap it is used
    even if the weights require one.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
