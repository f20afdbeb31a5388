"""Attention where weights are an episode's own, or gradients are of second order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by its plain kernel: the fused ones have neither a second derivative nor a rule for vmap.

    The fast path of nn.MultiheadAttention and nn.TransformerEncoder has no derivative either, and under vmap they take it although the
    weights require one. Outside vmap they may take it.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
