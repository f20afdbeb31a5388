"""From texts to tokens, and from the states of tokens to sentence features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, final

import torch
from torch import Tensor

from fewtune.backbones.tokens import MOST_WINDOWS, padded, pairs_apart, pairs_together, prompt_rows, windows
from fewtune.data.fields import DIVIDER, fields_of
from fewtune.data.items import Item, Modality
from fewtune.data.prompts.template import Filled, Prompt, Template, is_filled, texts_within

_MARKS, _TOGETHER = 8, 256
_PROBES = ["The quick brown fox, naïve café №1!", "UPPER lower  12345 -- (a_b) don't 你好", ""]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TextPreparation:
    """Texts are tokenised together, cut to `max_length` tokens and padded to the longest of the batch (to `max_length` if `padded`).

    `template`: what is put around each text; only the text is cut then. `fields`: the names of the fields of texts that have two (see
    `data.fields`); `pair` "apart": each field is a row of tokens, "together": both are in one. `long` "mean": a long text is read in
    windows of `max_length` tokens instead of being cut.
    """

    tokenizer: Any
    max_length: int
    pooling: str
    normalize: bool
    padded: bool = False
    template: Template | None = None
    fields: tuple[str, ...] = ()
    pair: Literal["apart", "together"] = "apart"
    long: Literal["cut", "mean"] = "cut"
    known: dict[int, bool] = field(default_factory=dict, repr=False)  # hash of a long text that went through `batch` -> whether it was cut

    @property
    def modality(self) -> Modality:
        return "text"

    @cached_property
    def text(self) -> str:
        settings = f"max_length={self.max_length}, pooling={self.pooling}, normalize={self.normalize}, padded={self.padded}"
        if self.template is not None:
            settings += f", template={self.template.plain!r}"
        elif self.fields:
            settings += f", pair={self.pair}"
        if self.long != "cut":
            settings += f", long={self.long}"
        return f"Text(tokenizer={_fingerprint(self.tokenizer)}, {settings})"

    def prepare(self, item: Item) -> str:
        assert isinstance(item, str)
        return item

    def batch(self, prepared: Sequence[str]) -> dict[str, Tensor]:
        """input_ids, attention_mask, ... [B, T]; for fields apart [B, 2, T], for windows [B, W, T]; of prompts, the places of masks [B]."""
        texts = _encodable(prepared)
        if self.template is None:
            texts = [texts_within(text) for text in texts]
        else:
            rows = prompt_rows(self.tokenizer, self.prompts(texts), self.max_length)
            self._note(texts, [row.cut for row in rows])
            return padded(self.tokenizer, rows)
        if self.fields:
            read = pairs_apart if self.pair == "apart" else pairs_together
            tokens, cut = read(self.tokenizer, [fields_of(text, len(self.fields)) for text in texts], self.max_length)
            self._note(texts, cut)
            return tokens
        if self.long == "mean":
            tokens, counts = windows(self.tokenizer, texts, self.max_length)
            self._note(texts, [count > MOST_WINDOWS for count in counts])
            return tokens
        return self._plain(texts)

    def prompts(self, texts: Sequence[str]) -> list[Prompt]:
        """The texts in the template, or in their own one."""
        assert self.template is not None
        mask = str(self.tokenizer.mask_token)
        return [(Filled(text) if is_filled(text) else self.template.filled(text)).text(mask) for text in texts]

    def label_tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens [n, T] of class names: short texts without a template."""
        return self._plain(_encodable(texts))

    def _plain(self, texts: list[str]) -> dict[str, Tensor]:
        texts = [text.replace(DIVIDER, " ") for text in texts] if any(DIVIDER in text for text in texts) else texts
        padding = "max_length" if self.padded else True
        made = self.tokenizer(texts, padding=padding, truncation=True, max_length=self.max_length, return_tensors="pt")
        if encodings := getattr(made, "encodings", None):
            self._note(texts, [bool(encoding.overflowing) for encoding in encodings])
        tokens = dict(made)
        if self.max_length and tokens["input_ids"].shape[1] == 0:  # a tokenizer without special tokens, and a batch of empty texts
            tokens = dict(self.tokenizer(texts, padding="max_length", truncation=True, max_length=1, return_tensors="pt"))
        return tokens

    def _note(self, texts: Sequence[str], cut: Sequence[bool]) -> None:
        for text, long in zip(texts, cut, strict=True):
            if self._long(text):
                self.known[hash(text)] = long

    def cut(self, prepared: Sequence[str]) -> list[bool]:
        """Whether a part of each text is left out. Only long texts that were never in a batch are tokenised to find out."""
        texts = _encodable(prepared)
        unknown = [text for text in dict.fromkeys(texts) if self._long(text) and hash(text) not in self.known]
        for first in range(0, len(unknown), _TOGETHER):
            self._measure(unknown[first : first + _TOGETHER])
        return [self._long(text) and self.known[hash(text)] for text in texts]

    def _measure(self, texts: list[str]) -> None:
        if self.template is not None or self.fields or self.long != "cut":
            self.batch(texts)
            return
        counts = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        self.known.update({hash(text): len(tokens) > self.max_length for text, tokens in zip(texts, counts, strict=True)})

    def _long(self, text: str) -> bool:
        """Whether a text could have too many tokens: each token has at least one byte of it, except a few special tokens."""
        around = 0 if self.template is None else len(self.template.sentence.encode())
        return len(text.encode()) + _MARKS + around > self.max_length


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
