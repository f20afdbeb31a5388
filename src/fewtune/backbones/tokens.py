"""Tokens of prompts, of pairs and of long texts: what a tokenizer alone does not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from fewtune.data.prompts.template import Prompt
from fewtune.errors import InputError

MASK_PLACE = "mask_place"  # beside input_ids: the place of the mask of each row
MOST_WINDOWS = 64  # of one text


@final
@dataclass(frozen=True)
class Row:
    """The tokens of one text. `mask`: the place of its mask. `cut`: whether tokens were left out."""

    ids: list[int]
    mask: int
    cut: bool


def prompt_rows(tokenizer: Any, prompts: Sequence[Prompt], most: int) -> list[Row]:
    """The tokens of prompts, at most `most` each. Tokens are left out at the ends of the fields, of the longest one first, so that the
    template and its mask stay.

    Raises InputError if the template alone has more tokens.
    """
    made = tokenizer([prompt.text for prompt in prompts], truncation=False, padding=False, verbose=False)
    return [_row(tokenizer.mask_token_id, encoding, prompt, most) for encoding, prompt in zip(made.encodings, prompts, strict=True)]


def _row(mask: int, encoding: Any, prompt: Prompt, most: int) -> Row:
    ids: list[int] = encoding.ids
    if len(ids) <= most and ids.count(mask) == 1:
        return Row(ids, ids.index(mask), False)
    offsets = encoding.offsets
    place = next(i for i, (start, end) in enumerate(offsets) if ids[i] == mask and start <= prompt.mask < end)
    gone = _left_out(offsets, prompt, place, len(ids) - most)
    kept = [i for i in range(len(ids)) if i not in gone]
    return Row([ids[i] for i in kept], kept.index(place), bool(gone))


def _left_out(offsets: Sequence[tuple[int, int]], prompt: Prompt, mask: int, excess: int) -> set[int]:
    """The tokens to leave out, so that `excess` are gone; none if it is below 1."""
    if excess < 1:
        return set()
    inside = [[i for i, (start, end) in enumerate(offsets) if first <= start < end <= last and i != mask] for first, last in prompt.fields]
    if sum(map(len, inside)) < excess:
        alone = len(offsets) - sum(map(len, inside))
        raise InputError(f"the template alone has {alone} tokens, more than the {len(offsets) - excess} that the model reads: shorten it.")
    keep = _shares([len(tokens) for tokens in inside], sum(map(len, inside)) - excess)
    return {i for tokens, count in zip(inside, keep, strict=True) for i in tokens[count:]}


def _shares(lengths: Sequence[int], total: int) -> list[int]:
    """How many tokens of each field stay, `total` together: the longest fields are shortened to one length, the others stay whole."""
    kept, left = [0] * len(lengths), total
    for done, place in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        kept[place] = min(lengths[place], left // (len(lengths) - done))
        left -= kept[place]
    return kept


def padded(tokenizer: Any, rows: Sequence[Row]) -> dict[str, Tensor]:
    """input_ids, attention_mask, ... [B, T] and the places of the masks [B], filled up on the right."""
    longest = max((len(row.ids) for row in rows), default=0)
    filler = tokenizer.pad_token_id or 0
    ids = torch.tensor([row.ids + [filler] * (longest - len(row.ids)) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows], dtype=torch.int64)
    types = {"token_type_ids": torch.zeros_like(ids)} if "token_type_ids" in tokenizer.model_input_names else {}
    return {"input_ids": ids, **types, "attention_mask": mask, MASK_PLACE: torch.tensor([row.mask for row in rows], dtype=torch.int64)}


def pairs_apart(tokenizer: Any, pairs: Sequence[tuple[str, ...]], most: int) -> tuple[dict[str, Tensor], list[bool]]:
    """Each field of each row alone: tokens [B, fields, T], and whether a field of the row was cut."""
    flat = [field for pair in pairs for field in pair]
    made = tokenizer(flat, padding=True, truncation=True, max_length=most, return_tensors="pt")
    count = len(flat) // max(1, len(pairs))
    long = [bool(encoding.overflowing) for encoding in made.encodings]
    tokens = {name: t.view(len(pairs), count, -1) for name, t in made.items()}
    return tokens, [any(long[i : i + count]) for i in range(0, len(long), count)]


def pairs_together(tokenizer: Any, pairs: Sequence[tuple[str, ...]], most: int) -> tuple[dict[str, Tensor], list[bool]]:
    """Both fields in one sequence, `[CLS] a [SEP] b [SEP]`: tokens [B, T], and whether a row was cut (its longer field first)."""
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    made = tokenizer(first, second, padding=True, truncation="longest_first", max_length=most, return_tensors="pt")
    return dict(made), [bool(encoding.overflowing) for encoding in made.encodings]


def windows(tokenizer: Any, texts: Sequence[str], most: int) -> tuple[dict[str, Tensor], list[int]]:
    """Texts in windows of at most `most` tokens, one after another: tokens [B, W, T], and how many windows each text has.

    Windows that a text does not have are padding alone. A text has at most 64 windows; what is beyond them is left out.
    """
    made = tokenizer(
        list(texts), padding=True, truncation=True, max_length=most, return_overflowing_tokens=True, stride=0, return_tensors="pt"
    )
    of = made.pop("overflow_to_sample_mapping").tolist()
    places: list[list[int]] = [[] for _ in texts]
    for window, text in enumerate(of):
        places[text].append(window)
    widest = min(MOST_WINDOWS, max(map(len, places), default=1))
    tokens = {}
    for name, t in made.items():
        blank = t.new_full((len(texts), widest, t.shape[1]), (tokenizer.pad_token_id or 0) if name == "input_ids" else 0)
        for row, own in enumerate(places):
            blank[row, : min(len(own), widest)] = t[own[:widest]]
        tokens[name] = blank
    return tokens, [len(own) for own in places]
