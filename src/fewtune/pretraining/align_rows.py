"""Which rows two towers are aligned on, which texts are theirs, and which are held out to choose by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.data.captions import captioned
from fewtune.data.examples import TEST, VALIDATION, Examples, Integers
from fewtune.data.templates import readable
from fewtune.errors import InputError
from fewtune.keys import Key, key
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.words import counted

_SHARE = 5  # one text in so many is held out where there are no validation classes
_FEWEST = 10  # texts, below which none is held out


@final
@dataclass(frozen=True, eq=False)
class PairedRows:
    """Rows of several collections, one after another, and their texts.

    `sources`: the rows of each collection. `texts`: the distinct texts, read through `prompts` (class names; whole captions through "{}").
    `own` [N]: which text is a row's. `held` [N]: whether a row is only judged by. `apart`: whether those are of validation classes, which
    are never learned from; the others are learned from in the end. `told`: sentences.
    """

    sources: tuple[Examples, ...]
    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    own: Integers
    held: np.ndarray[tuple[int], np.dtype[np.bool_]]
    apart: bool
    told: tuple[str, ...]


def paired_rows(examples: Sequence[Examples], settings: AlignSettings) -> PairedRows:
    """The rows that have a text: a caption, or a class name where no collection has captions. Test rows and test classes are left out.

    Held out are validation classes; where there are none, one text in five (of ten or more). Raises InputError where fewer than two
    different texts are left to learn from.
    """
    draws = key(settings.seed, "align")
    kept = [_kept(one, settings.most, draws.child("rows", number)) for number, one in enumerate(examples)]
    held = [_validation(one) for one in kept]
    captions = any(text for one in kept for text in one.caption or ())
    prompts: tuple[str, ...] = settings.templates
    if captions:
        prompts, told = ("{}",), []
        said: list[list[str]] = []
        for number, one in enumerate(kept):
            made = captioned(one, settings.templates, draws.child("templates", number))
            said.append([made.examples.class_names[label] if label >= 0 else "" for label in made.examples.labels.tolist()])
            told.append(f"{one.name}: {counted(made.own, 'caption')}, {counted(made.named, 'row')} paired with its class name.")
    else:
        said = [_names(one) for one in kept]
        told = [f"{one.name}: {counted(len(one), 'row')}, paired with their class names in templates." for one in kept]
    rows = [np.flatnonzero([bool(text) for text in texts]) for texts in said]
    flat = [texts[row] for texts, mine in zip(said, rows, strict=True) for row in mine]
    texts = tuple(dict.fromkeys(flat))
    place = {text: number for number, text in enumerate(texts)}
    own = np.array([place[text] for text in flat], dtype=np.int64)
    aside = np.concatenate([mask[mine] for mask, mine in zip(held, rows, strict=True)]) if rows else np.zeros(0, dtype=bool)
    apart = bool(aside.any())
    if not apart and len(texts) >= _FEWEST:
        chosen = draws.child("held").generator().permutation(len(texts))[: len(texts) // _SHARE]
        aside = np.isin(own, chosen)
    if len(np.unique(own[~aside])) < 2:
        found = f"{len(np.unique(own[~aside]))} different texts"
        raise InputError(f"{examples[0].name}: found {found} to align with, expected two or more: captions, or classes with names.")
    sources = tuple(one.take(mine) for one, mine in zip(kept, rows, strict=True))
    return PairedRows(sources, texts, prompts, own, aside, apart, (*told, _held_said(own, aside, apart)))


def _held_said(own: Integers, aside: np.ndarray[tuple[int], np.dtype[np.bool_]], apart: bool) -> str:
    count = len(np.unique(own[aside]))
    if not count:
        return "No text is held out, because there are fewer than ten: the usual strengths are taken, and no update."
    kind = "of validation classes, which are not learned from" if apart else "held out, and learned from in the end"
    return f"Settings are chosen by {counted(int(aside.sum()), 'row')} of {counted(count, 'text')} {kind}."


def _kept(examples: Examples, most: int, draws: Key) -> Examples:
    """Rows that are not for testing, at most `most` of each class and of those without one."""
    labels = _labels(examples)
    split = np.append(examples.class_split, -1)[labels] if examples.column.kind == "class" else np.full(len(examples), -1)
    rows = np.flatnonzero((examples.row_split != TEST) & (split != TEST))
    if most:
        order = rows[draws.generator().permutation(len(rows))]
        _, first = np.unique(labels[order], return_inverse=True)
        seen = np.zeros(len(order), dtype=np.int64)
        for number in range(first.max(initial=-1) + 1):
            here = np.flatnonzero(first == number)
            seen[here] = np.arange(len(here))
        rows = np.sort(order[seen < most])
    return examples.take(rows)


def _labels(examples: Examples) -> Integers:
    return examples.labels if examples.column.kind == "class" else np.full(len(examples), -1)


def _validation(examples: Examples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    split = np.append(examples.class_split, -1)[_labels(examples)] if examples.column.kind == "class" else np.full(len(examples), -1)
    return np.asarray(split == VALIDATION)


def _names(examples: Examples) -> list[str]:
    if examples.column.kind != "class":
        raise InputError(
            f"{examples.name} has neither captions nor classes, so there are no texts to align with: give a table with a column named "
            "caption, or labelled data."
        )
    names = [readable(name) for name in examples.class_names]
    return [names[label] if label >= 0 else "" for label in examples.labels.tolist()]
