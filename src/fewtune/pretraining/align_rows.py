"""Which rows two towers are aligned on, which texts are theirs, and which are held out to choose by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
    `own` [N]: which text is a row's. `held` [N]: whether a row is only judged by. `apart`: whether those are for validation, and never
    learned from; the others are learned from in the end. `told`: sentences.
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

    Held out are rows of validation and rows of validation classes, if their text is not learned from too (such rows say nothing of new
    texts, and are left out). Where there are none, one text in five (of ten or more), together with all texts of the photos that show it.
    Raises InputError where fewer than two different texts are left to learn from.
    """
    draws = key(settings.seed, "align")
    kept = [_kept(one, settings.most, draws.child("rows", number)) for number, one in enumerate(examples)]
    prompts, said, told = _said(kept, settings, draws)
    judging = [_validation(one) for one in kept]
    learned = {text for texts, mask in zip(said, judging, strict=True) for text, judges in zip(texts, mask, strict=True) if not judges}
    rows = [
        np.flatnonzero([bool(text) and not (judges and text in learned) for text, judges in zip(texts, mask, strict=True)])
        for texts, mask in zip(said, judging, strict=True)
    ]
    sources = tuple(one.take(mine) for one, mine in zip(kept, rows, strict=True))
    flat = [texts[row] for texts, mine in zip(said, rows, strict=True) for row in mine]
    place = {text: number for number, text in enumerate(dict.fromkeys(flat))}
    own = np.array([place[text] for text in flat], dtype=np.int64)
    aside = np.concatenate([mask[mine] for mask, mine in zip(judging, rows, strict=True)])
    apart = bool(aside.any())
    if not apart and len(place) >= _FEWEST:
        aside = _held_out(own, [photo for one in sources for photo in one.row_digests], draws.child("held"))
    if len(np.unique(own[~aside])) < 2:
        found = f"{len(np.unique(own[~aside]))} different texts"
        raise InputError(f"{examples[0].name}: found {found} to align with, expected two or more: captions, or classes with names.")
    return PairedRows(sources, tuple(place), prompts, own, aside, apart, (*told, _held_said(own, aside, apart)))


def _said(kept: Sequence[Examples], settings: AlignSettings, draws: Key) -> tuple[tuple[str, ...], list[list[str]], list[str]]:
    """(templates of all texts, the text of each row of each collection or "", sentences)."""
    if not any(text for one in kept for text in one.caption or ()):
        told = [f"{one.name}: {counted(len(one), 'row')}, paired with their class names in templates." for one in kept]
        return settings.templates, [_names(one) for one in kept], told
    said, told = [], []
    for number, one in enumerate(kept):
        made = captioned(one, settings.templates, draws.child("templates", number))
        said.append([made.examples.class_names[label] if label >= 0 else "" for label in made.examples.labels.tolist()])
        told.append(f"{one.name}: {counted(made.own, 'caption')}, {counted(made.named, 'row')} paired with its class name.")
    return ("{}",), said, told


def _held_out(own: Integers, photos: Sequence[bytes], draws: Key) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each row is held out: about one text in five. A photo that comes several times is on one side with all its texts."""
    place = {photo: number for number, photo in enumerate(dict.fromkeys(photos))}
    count = int(own.max()) + 1
    ends = own, count + np.array([place[photo] for photo in photos])
    size = count + len(place)
    part = connected_components(coo_array((np.ones(len(own)), ends), shape=(size, size)), directed=False)[1][:count]
    chosen, room = [], count // _SHARE
    for one in dict.fromkeys(part[draws.generator().permutation(count)].tolist()):
        if (texts := int((part == one).sum())) <= room:
            chosen.append(one)
            room -= texts
        if not room:
            break
    return np.isin(part, chosen)[own]


def _held_said(own: Integers, aside: np.ndarray[tuple[int], np.dtype[np.bool_]], apart: bool) -> str:
    count = len(np.unique(own[aside]))
    if count < 2:
        return "Fewer than two texts are held out, too few to choose by: the usual strengths are taken, and no update."
    kind = "for validation, which are not learned from" if apart else "held out, and learned from in the end"
    return f"Settings are chosen by {counted(int(aside.sum()), 'row')} of {counted(count, 'text')} {kind}."


def _kept(examples: Examples, most: int, draws: Key) -> Examples:
    """Rows that are not for testing, at most `most` of each class and of those without one."""
    labels = _labels(examples)
    rows = np.flatnonzero((examples.row_split != TEST) & (examples.split_by_class() != TEST))
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
    return np.asarray((examples.split_by_class() == VALIDATION) | (examples.row_split == VALIDATION))


def _names(examples: Examples) -> list[str]:
    if examples.column.kind != "class":
        raise InputError(
            f"{examples.name} has neither captions nor classes, so there are no texts to align with: give a table with a column named "
            "caption, or labelled data."
        )
    names = [readable(name) for name in examples.class_names]
    return [names[label] if label >= 0 else "" for label in examples.labels.tolist()]
