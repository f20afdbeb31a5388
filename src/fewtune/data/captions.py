"""Captions as classes: a collection's rows with its distinct captions as one label column, so that texts and items can be paired.

Rows with the same caption are then of the same class, and never each other's negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from fewtune.data.examples import NO_SPLIT, Column, Examples
from fewtune.data.templates import fill, readable
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.words import counted, option

CAPTION = "caption"  # the label column of captions
MOST_WORDS = 512  # of a caption: no text tower reads more


@final
@dataclass(frozen=True, eq=False)
class Captioned:
    """`examples`: the same rows with the label column "caption", whose classes are the distinct captions. `own`: rows with a caption of
    their own; `named`: rows whose caption is their class name in a template; `without`: rows that have neither, and no label now."""

    examples: Examples
    own: int
    named: int
    without: int


def captioned(examples: Examples, templates: Sequence[str], key: Key) -> Captioned:
    """A caption for each row: its own, else the name of its class in one of `templates`, each with one `{}`, drawn by (key, row).

    Blanks are made single, and a caption is cut after 512 words. Raises InputError where there are fewer than two different captions.
    """
    names = examples.class_names if examples.column.kind == "class" else ()
    labels = examples.labels if names else np.full(len(examples), -1)
    drawn = key.below(len(templates), np.arange(len(examples), dtype=np.uint64))
    texts = [" ".join(text.split()[:MOST_WORDS]) for text in examples.caption or [""] * len(examples)]
    own = sum(map(bool, texts))
    named = [
        text or (fill(templates[place], readable(names[label])) if label >= 0 else "")
        for text, label, place in zip(texts, labels.tolist(), drawn.tolist(), strict=True)
    ]
    distinct = tuple(dict.fromkeys(filter(None, named)))
    if not distinct:
        raise InputError(
            f"{examples.name} has neither captions nor classes, so there are no texts to pair its rows with: give a table with a column "
            f"named caption, labelled data, or {option('--objective simclr', 'objective=...')}, which needs photos alone."
        )
    if len(distinct) < 2:
        raise InputError(f"{examples.name} has one caption for all rows ({distinct[0][:40]!r}): expected two different ones or more.")
    place = {text: number for number, text in enumerate(distinct)}
    values = np.array([place.get(text, -1) for text in named], dtype=np.int64)
    made = replace(
        examples,
        columns={**examples.columns, CAPTION: Column("class", values, distinct)},
        target=CAPTION,
        class_split=np.full(len(distinct), NO_SPLIT),
    )
    known = int((values >= 0).sum())
    return Captioned(made, own, known - own, len(examples) - known)


def captions_said(found: Captioned) -> str:
    """What the captions of a collection are, a sentence."""
    parts = [f"{counted(found.own, 'row')} with a caption" if found.own else ""]
    parts += [f"{counted(found.named, 'row')} paired with the class name in a template" if found.named else ""]
    parts += [f"{counted(found.without, 'row')} without either, not used" if found.without else ""]
    distinct = len(found.examples.class_names)
    return f"{found.examples.name}: {', '.join(filter(None, parts))}; {distinct:,} different texts."
