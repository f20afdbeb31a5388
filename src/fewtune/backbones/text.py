"""Texts to tokens, and tokens' states to sentence features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from fewtune.data.items import Item, Modality


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TextPreparation:
    """Texts are tokenised together, cut to `max_length` tokens and padded to the longest of the batch."""

    tokenizer: Any
    max_length: int
    pooling: str
    normalize: bool

    @property
    def modality(self) -> Modality:
        return "text"

    @property
    def text(self) -> str:
        kind = type(self.tokenizer).__name__
        vocabulary = len(self.tokenizer) if hasattr(self.tokenizer, "__len__") else 0
        settings = f"max_length={self.max_length}, pooling={self.pooling}, normalize={self.normalize}"
        return f"Text(tokenizer={kind}, vocabulary={vocabulary}, {settings})"

    def prepare(self, item: Item) -> str:
        assert isinstance(item, str)
        return item

    def batch(self, prepared: Sequence[str]) -> dict[str, Tensor]:
        """input_ids, attention_mask, ... [B, T]."""
        tokens = self.tokenizer(list(prepared), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        return dict(tokens)


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """[B, T, D] and a mask [B, T] of 0 and 1 to [B, D]: the mean or the maximum over the mask, or the first token."""
    if pooling == "cls":
        return states[:, 0]
    inside = mask[..., None].to(states.dtype)
    if pooling == "max":
        return states.masked_fill(inside == 0, float("-inf")).amax(1)
    return (states * inside).sum(1) / inside.sum(1).clamp_min(1)
