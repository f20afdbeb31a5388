"""Which rows of a source may be used: a few rows of each class, and what each class is used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fewtune.backbones.features.readable import refuse_unreadable
from fewtune.data.examples import SPLITS, TEST, Examples, Integers, of_classes
from fewtune.data.items import content_digest
from fewtune.data.rotations import unturned
from fewtune.data.subset import on_disk
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError
from fewtune.evaluation.class_roles import serving
from fewtune.keys import key
from fewtune.words import counted

MOST_JUDGES = 20  # classes of a source that are held out of training

Part = Literal["train", "validation", "judging"]
PARTS: dict[Part, int] = {"train": SPLITS["train"], "validation": SPLITS["validation"], "judging": SPLITS["test"]}


class TooSmallError(Exception):
    """A collection is too small to finetune on; the text says how small."""


def mark_rows(source: Examples, most: int, seed: int, skip_bad: bool, notes: list[str]) -> Examples:
    """The rows of a source that may be used, each class marked with its use: no test rows, at most `most` different rows of a class.

    Classes of a single row are left out. What cannot be read is added to `notes`. Raises TooSmallError
    where no two classes are left to train on, and InputError for targets that are no classes and for rows that cannot be read (unless
    `skip_bad`).
    """
    if source.column.kind != "class":
        raise InputError(f"source {source.name} holds {source.column.kind} targets: expected class labels.")
    trained = source.take(np.flatnonzero((source.labels >= 0) & (source.row_split != TEST)))
    try:
        served = serving(of_classes(trained, np.flatnonzero(trained.counts() >= 2)), seed=seed)
    except InputError as problem:
        raise TooSmallError(str(problem)) from problem
    marked = _judged(served, seed)
    few = marked.take(_first_rows(marked, most))
    bad = unreadable(few, deep=skip_bad)  # what is not left out now is refused when it is decoded
    refuse_unreadable(few, bad, skip_bad)
    if bad:
        notes.append(f"{source.name}: {counted(len(bad), 'row')} cannot be read and {'was' if len(bad) == 1 else 'were'} left out.")
        few = few.take([r for r in range(len(few)) if r not in bad])
    return few.take(_distinct(few.labels, few.row_digests))


def without_overlap(sources: Sequence[Examples], notes: list[str]) -> list[Examples]:
    """The same collections, without content that would have two uses: what judges anywhere does not validate or train, what validates does
    not train. Collections overlap where one is a part of another.
    """
    uses = [s.split_by_class() for s in sources]
    highest: dict[bytes, int] = {}
    for source, mine in zip(sources, uses, strict=True):
        for digest, part in zip(source.row_digests, mine.tolist(), strict=True):
            highest[digest] = max(part, highest.get(digest, part))
    kept = []
    for source, mine in zip(sources, uses, strict=True):
        rows = [r for r, (digest, part) in enumerate(zip(source.row_digests, mine.tolist(), strict=True)) if part == highest[digest]]
        if lost := len(source) - len(rows):
            notes.append(f"{source.name}: {counted(lost, 'row', ('is', 'are'))} in held out classes of the sources too, and left out.")
        kept.append(source.take(rows) if lost else source)
    return kept


def _judged(source: Examples, seed: int) -> Examples:
    """Half of the validation classes become judges where there are four or more; of very many, the first by their names' keys stay. The
    turns of one class go together."""
    split, names = source.class_split.copy(), set(source.class_names)
    held = np.intersect1d(np.flatnonzero(split == SPLITS["validation"]), np.unique(source.labels))
    families: dict[str, list[int]] = {}
    for c in held.tolist():
        families.setdefault(unturned(source.class_names[c], names), []).append(c)
    order = [families[name] for name in sorted(families, key=lambda name: (key(seed, "judges", name).value, name))]
    fitting = np.cumsum([len(family) for family in order]) <= MOST_JUDGES
    split[held] = -1
    chosen = [family for family, fits in zip(order, fitting, strict=True) if fits]
    validating, judging = ([c for family in chosen[first::2] for c in family] for first in (0, 1))
    if min(len(validating), len(judging)) < 2:
        validating, judging = validating + judging, []
    split[validating], split[judging] = PARTS["validation"], PARTS["judging"]
    made = replace(source, class_split=split)
    return made.take(np.flatnonzero(np.append(split, -1)[made.labels] >= 0))


def _first_rows(source: Examples, most: int) -> Integers:
    """At most `most` different rows of each class: the same ones whatever else is in the collection.

    By the digests of their content; files by those of their names, because reading many files to choose a few would take longer than
    everything else.
    """
    if on_disk(source.items):
        marks: Sequence[bytes] = [content_digest(name.encode(errors="surrogatepass")) for name in source.row_names]
    else:
        marks = source.row_digests
    order = np.array(sorted(range(len(source)), key=marks.__getitem__), dtype=np.int64)
    order = order[_distinct(source.labels[order], [marks[row] for row in order])]
    seen: dict[int, int] = {}
    kept = []
    for row, label in zip(order.tolist(), source.labels[order].tolist(), strict=True):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            kept.append(row)
    return np.array(sorted(kept), dtype=np.int64)


def _distinct(labels: Integers, marks: Sequence[bytes]) -> list[int]:
    """Places of the first row of each mark in each class."""
    first: dict[tuple[int, bytes], int] = {}
    for place, pair in enumerate(zip(labels.tolist(), marks, strict=True)):
        first.setdefault(pair, place)
    return list(first.values())
