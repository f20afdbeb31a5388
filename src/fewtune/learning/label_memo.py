"""LabelMemo: class vectors that stay as they are while only weights move that they do not depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor


@final
class LabelMemo:
    """Keeps the last class vectors that did not depend on any weight that moved.

    Whether they do is seen from their gradient: where weights require one and the vectors do not, nothing that moves reaches them. So
    finetuning of the image side alone reads the class names once, and not in every step.
    """

    def __init__(self) -> None:
        self._asked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._still: dict[str, Tensor] = {}
        self._vectors: Tensor | None = None

    def of(self, names: Sequence[str], prompts: Sequence[str], weights: Mapping[str, Tensor], read: Callable[[], Tensor]) -> Tensor:
        """The class vectors of names in prompts by these weights: those that are kept, else what `read` gives."""
        if not torch.is_grad_enabled():
            return read()
        asked, still = (tuple(names), tuple(prompts)), {n: t for n, t in weights.items() if not t.requires_grad}
        if self._vectors is not None and asked == self._asked and self._same(still, weights):
            return self._vectors
        found = read()
        if len(still) < len(weights) and not found.requires_grad:
            self._asked, self._still, self._vectors = asked, still, found
        return found

    def _same(self, still: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
        """Whether no more moves than did, and the rest are the very same tensors."""
        return still.keys() >= self._still.keys() and all(weights.get(n) is t for n, t in self._still.items())
