"""From texts to tokens, and from the states of tokens to sentence features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from fewtune.data.items import Item, Modality

_MARKS, _TOGETHER = 8, 256
_PROBES = ["The quick brown fox, naïve café №1!", "UPPER lower  12345 -- (a_b) don't 你好", ""]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TextPreparation:
    """Texts are tokenised together, cut to `max_length` tokens and padded to the longest of the batch (to `max_length` if `padded`)."""

    tokenizer: Any
    max_length: int
    pooling: str
    normalize: bool
    padded: bool = False
    known: dict[int, bool] = field(default_factory=dict, repr=False)  # hash of a long text that went through `batch` -> whether it was cut

    @property
    def modality(self) -> Modality:
        return "text"

    @cached_property
    def text(self) -> str:
        settings = f"max_length={self.max_length}, pooling={self.pooling}, normalize={self.normalize}, padded={self.padded}"
        return f"Text(tokenizer={_fingerprint(self.tokenizer)}, {settings})"

    def prepare(self, item: Item) -> str:
        assert isinstance(item, str)
        return item

    def batch(self, prepared: Sequence[str]) -> dict[str, Tensor]:
        """input_ids, attention_mask, ... [B, T]."""
        texts = _encodable(prepared)
        padding = "max_length" if self.padded else True
        made = self.tokenizer(texts, padding=padding, truncation=True, max_length=self.max_length, return_tensors="pt")
        for text, encoding in zip(texts, getattr(made, "encodings", None) or (), strict=False):
            if self._long(text):
                self.known[hash(text)] = bool(encoding.overflowing)
        tokens = dict(made)
        if self.max_length and tokens["input_ids"].shape[1] == 0:  # a tokenizer without special tokens, and a batch of empty texts
            tokens = dict(self.tokenizer(texts, padding="max_length", truncation=True, max_length=1, return_tensors="pt"))
        return tokens

    def cut(self, prepared: Sequence[str]) -> list[bool]:
        """Whether each text has more than `max_length` tokens. Only long texts that were never in a batch are tokenised to find out."""
        texts = _encodable(prepared)
        unknown = [text for text in dict.fromkeys(texts) if self._long(text) and hash(text) not in self.known]
        for first in range(0, len(unknown), _TOGETHER):
            part = unknown[first : first + _TOGETHER]
            counts = self.tokenizer(part, truncation=False, verbose=False)["input_ids"]
            self.known.update({hash(text): len(tokens) > self.max_length for text, tokens in zip(part, counts, strict=True)})
        return [self._long(text) and self.known[hash(text)] for text in texts]

    def _long(self, text: str) -> bool:
        """Whether a text could have too many tokens: each token has at least one byte of it, except a few special tokens."""
        return len(text.encode()) + _MARKS > self.max_length


def _encodable(texts: Sequence[str]) -> list[str]:
    """The texts without lone surrogates, which some JSON files hold and no tokenizer can encode."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """States [B, T, D] and a mask [B, T] of 0 and 1 to features [B, D]: the mean or the maximum where the mask is 1, the first token, or
    the last token where the mask is 1.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        places = torch.arange(states.shape[1], device=states.device)
        last = (places * mask).amax(1)
        return states[torch.arange(len(states), device=states.device), last]
    inside = mask[..., None].to(states.dtype)
    if pooling == "max":
        return states.masked_fill(inside == 0, float("-inf")).amax(1)
    return (states * inside).sum(1) / inside.sum(1).clamp_min(1)


def _fingerprint(tokenizer: Any) -> str:
    """A digest of what the tokenizer does, not of how its library stores it: of its words, and of its tokens of a few texts."""
    whole = hashlib.blake2b(digest_size=8)
    for word, number in sorted(tokenizer.get_vocab().items()):
        whole.update(f"{word}\0{number}\n".encode(errors="surrogatepass"))
    whole.update(str(tokenizer(_PROBES)["input_ids"]).encode())
    return whole.hexdigest()
