"""Which classes and rows a seed trains on, chooses by and is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION, Examples, Integers, of_classes
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.studies.mamf.settings import MamfSettings

_PARTS = {TRAIN: "train", VALIDATION: "dev", TEST: "test"}


@final
@dataclass(frozen=True, eq=False)
class Division:
    """`train`, `dev` and `test` share no row; `rows` of each class are trained on, `classes` of them (M). Dev classes are marked as
    validation classes, so that what is chosen is chosen by them."""

    train: Examples
    dev: Examples
    test: Examples
    rows: int
    classes: int


def divide(examples: Examples, settings: MamfSettings, seed: int) -> Division:
    """The classes and rows of one seed. Rows of the same content count once.

    Raises InputError where N is more than the classes, where a class has too few rows, and for a split by classes without dev classes.
    """
    first = _first_of_each(examples)
    if settings.split == "classes":
        return _by_classes(first, settings, seed)
    least = 3 * settings.each
    chosen = _classes(first, np.arange(len(first.class_names)), least, settings, seed, "dev, test and training rows")
    whole = of_classes(first, chosen)
    rows = min(settings.rows, int(whole.counts().min()) - 2 * settings.each)
    parts = _rows(whole, (settings.each, settings.each, rows), seed)
    dev, test, train = (_part(whole, at, code) for at, code in zip(parts, (VALIDATION, TEST, TRAIN), strict=True))
    return Division(train, dev, test, rows, len(chosen))


def _by_classes(examples: Examples, settings: MamfSettings, seed: int) -> Division:
    split = examples.class_split
    if (split == NO_SPLIT).all():
        raise InputError(
            f"{examples.name} has no train, dev and test classes: split the classes (--class-split), or divide the rows of the same "
            "classes (--split rows)."
        )
    found: dict[int, Examples] = {}
    for code, name in _PARTS.items():
        members = np.flatnonzero(split == code)
        if len(members) < 2:
            raise InputError(
                f"{examples.name} has {len(members)} {name} classes, expected at least 2: name {name} classes, or "
                "divide the rows of the same classes (--split rows)."
            )
        chosen = _classes(examples, members, settings.each, settings, seed, f"{name} rows")
        whole = of_classes(examples, chosen)
        most = min(settings.rows, int(whole.counts().min())) if code == TRAIN else settings.each
        found[code] = _part(whole, _rows(whole, (most,), seed)[0], code)
    train = found[TRAIN]
    return Division(train, found[VALIDATION], found[TEST], int(train.counts().min()), len(train.class_names))


def _classes(examples: Examples, among: Integers, least: int, settings: MamfSettings, seed: int, what: str) -> Integers:
    """The classes of a part, drawn by the seed from those with enough rows, in their own order."""
    counts = examples.counts()
    enough = among[counts[among] >= least]
    wanted = max((2, *settings.ways))
    if len(among) < wanted:
        raise InputError(f"{examples.name} has {len(among)} classes, but tasks of N = {wanted} are asked for: ask for fewer ways.")
    if min(settings.classes, len(enough)) < wanted:
        if settings.classes < wanted:
            raise InputError(
                f"tasks of N = {wanted} classes are asked for among M = {settings.classes}: ask for fewer ways or more classes."
            )
        small = among[np.argmin(counts[among])]
        raise InputError(
            f"{examples.name}: {least} different rows of a class are needed ({what} of {settings.shots} shots and {settings.queries} "
            f"queries), and {len(enough)} of {len(among)} classes have them, expected {wanted} ({examples.class_names[small]!r} has "
            f"{counts[small]}): add rows, or ask for fewer shots or queries."
        )
    order = key(seed, "mamf classes", what).generator().permutation(len(enough))[: settings.classes]
    return enough[np.sort(order)]


def _rows(examples: Examples, sizes: tuple[int, ...], seed: int) -> list[Integers]:
    """Disjoint rows of every class, so many for each part, drawn by the seed and the name of the class."""
    parts: list[list[Integers]] = [[] for _ in sizes]
    edges = np.cumsum((0, *sizes))
    for label, name in enumerate(examples.class_names):
        mine = np.flatnonzero(examples.labels == label)
        drawn = mine[key(seed, "mamf rows", name).generator().permutation(len(mine))]
        for part, low, high in zip(parts, edges, edges[1:], strict=False):
            part.append(drawn[low:high])
    return [np.sort(np.concatenate(part)) for part in parts]


def _part(examples: Examples, rows: Integers, code: int) -> Examples:
    """Some rows as a collection whose classes are all of one part."""
    part = examples.take(rows)
    return replace(part, name=f"{examples.name} ({_PARTS[code]})", class_split=np.full(len(part.class_names), code))


def _first_of_each(examples: Examples) -> Examples:
    """The labelled rows, each content once: a copy in training and test would be a leak."""
    seen: set[bytes] = set()
    kept = []
    for row in np.flatnonzero(examples.labels >= 0).tolist():
        content = examples.row_digests[row]
        if content not in seen:
            seen.add(content)
            kept.append(row)
    return examples.take(kept)
