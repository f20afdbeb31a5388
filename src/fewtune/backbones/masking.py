"""Masked words: which tokens of a text are asked for, and what stands in their places. Every draw is a function of (key, row, place)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.data.views.views import MaskWords
from fewtune.keys import Counters, Key

ASKED = "asked"  # beside input_ids: the tokens [B, T] that stood in the places that are asked for
NOT_ASKED = -100  # in all other places
_PLACES = np.uint64(1 << 20)  # more than the tokens of a text
_MASKED, _REPLACED = 0.8, 0.9  # below the first the mask, below the second a random word


def masked(view: MaskWords, tokens: Mapping[str, Tensor], rows: Integers, key: Key, tokenizer: Any) -> dict[str, Tensor]:
    """Tokens [B, T] with some of `input_ids` replaced, and `asked`. Special tokens and padding stay; a text without others is not asked."""
    ids = tokens["input_ids"].cpu().numpy()
    special = np.asarray(tokenizer.all_special_ids)
    words = np.setdiff1d(np.arange(len(tokenizer)), special)
    counters: Counters = np.add(rows.astype(np.uint64)[:, None] * _PLACES, np.arange(ids.shape[1]), dtype=np.uint64, casting="unsafe")
    free = ~np.isin(ids, special) & (tokens["attention_mask"].cpu().numpy() > 0)
    drawn = np.where(free, key.child("asked").uniform(counters), 2.0)
    least = drawn.min(axis=1, keepdims=True, initial=2.0)
    asked = free & ((drawn < view.share) | (drawn == least))
    how = key.child("how").uniform(counters)
    other = words[key.child("word").below(len(words), counters)]
    shown = np.where(how < _MASKED, tokenizer.mask_token_id, np.where(how < _REPLACED, other, ids))
    made = dict(tokens)
    made["input_ids"] = torch.from_numpy(np.where(asked, shown, ids))
    made[ASKED] = torch.from_numpy(np.where(asked, ids, NOT_ASKED))
    return made
