"""Which rows a backbone is pretrained on, and which ones only a probe sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from fewtune.data.examples import TEST, TRAIN, VALIDATION, Examples, Integers
from fewtune.keys import Key

CLASSES, ROWS = 20, 20  # of a probe at most: classes, and rows of each to learn from and as many to judge by
_FEWEST = 4  # rows of a class that is probed
_SHARE = 5  # one row in so many is held out


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """`train`: what is learned from. `fit` and `judge`: what the probe learns from and is judged by, one class column of K classes, each
    with rows in both; None where nothing is labelled. `told`: where those come from, in words."""

    train: Examples
    fit: Examples | None = None
    judge: Examples | None = None
    told: str = ""


def divided(examples: Examples, key: Key) -> Rows:
    """The rows of a collection by what they are used for; test rows and test classes are used for nothing.

    Where there are validation classes, the probe learns and is judged on their rows. Where there are validation rows, it learns from train
    rows and is judged on those. Neither is ever trained on. Else one row in five of each class (at most 20) is held out to judge by.
    """
    kept = examples.row_split != TEST
    classes = examples.column.kind == "class"
    labels = examples.labels if classes else np.full(len(examples), -1)
    split = examples.split_by_class()
    kept &= split != TEST
    if classes and (split[kept] == VALIDATION).any() and (split[kept] == TRAIN).any():
        train = np.flatnonzero(kept & (split == TRAIN) & (examples.row_split != VALIDATION))
        fit, judge = _halves(labels, np.flatnonzero(kept & (split == VALIDATION)), key)
        told = "on validation classes, of which no row is trained on"
    elif (examples.row_split[kept] == VALIDATION).any():
        train, held = (np.flatnonzero(kept & (examples.row_split == part)) for part in (TRAIN, VALIDATION))
        fit, judge = _both(labels, train, held, key)
        told = "from train rows, on validation rows, which are not trained on"
    else:
        rows = np.flatnonzero(kept)
        held = _held(labels, rows, key)
        train = np.setdiff1d(rows, held)
        fit, judge = _both(labels, train, held, key)
        train = train if len(fit) else rows  # nothing is held out for a probe that cannot be
        told = "from rows that are trained on, on held-out rows of the same classes"
    whole = examples.take(train)
    if not len(fit):
        return Rows(whole)
    names = np.unique(labels[fit])
    return Rows(whole, _labelled(examples, fit, names), _labelled(examples, judge, names), told)


def _labelled(examples: Examples, rows: Integers, classes: Integers) -> Examples:
    """Some rows, labelled by the places of their classes among `classes`."""
    part = examples.take(rows)
    column = replace(part.column, values=np.searchsorted(classes, part.labels), names=tuple(examples.class_names[c] for c in classes))
    return replace(part, columns={part.target: column}, class_split=np.full(len(classes), -1))


def _held(labels: Integers, rows: Integers, key: Key) -> Integers:
    """One row in five of each class, at most `ROWS`, of classes with `_FEWEST` rows or more."""
    found = [rows[:0]]
    for members in _by_class(labels, rows, key):
        if len(members) >= _FEWEST:
            found.append(members[: min(ROWS, -(-len(members) // _SHARE))])
    return np.sort(np.concatenate(found))


def _halves(labels: Integers, rows: Integers, key: Key) -> tuple[Integers, Integers]:
    """Rows of each class for the two sides of a probe."""
    pairs = [(m[: min(ROWS, len(m) // 2)], m[len(m) // 2 :][:ROWS]) for m in _by_class(labels, rows, key) if len(m) >= _FEWEST]
    return _chosen(pairs, rows, key)


def _both(labels: Integers, train: Integers, held: Integers, key: Key) -> tuple[Integers, Integers]:
    """Rows of each class on both sides, from those trained on and those held out."""
    judged = {int(labels[m[0]]): m[:ROWS] for m in _by_class(labels, held, key)}
    pairs = [(m[:ROWS], judged[c]) for m in _by_class(labels, train, key) if (c := int(labels[m[0]])) in judged]
    return _chosen(pairs, train, key)


def _chosen(pairs: list[tuple[Integers, Integers]], none: Integers, key: Key) -> tuple[Integers, Integers]:
    """At most `CLASSES` of the classes, at random; no row where there are fewer than two."""
    if len(pairs) < 2:
        return none[:0], none[:0]
    order = key.child("classes").generator().permutation(len(pairs))[:CLASSES]
    fit, judge = (np.concatenate([pairs[i][side] for i in order]) for side in (0, 1))
    return fit, judge


def _by_class(labels: Integers, rows: Integers, key: Key) -> list[Integers]:
    """The labelled rows of each class, in an order that depends on the key and the row alone."""
    rows = rows[labels[rows] >= 0]
    order = np.argsort(key.child("rows").uniform(rows.astype(np.uint64)), kind="stable")
    rows = rows[order][np.argsort(labels[rows[order]], kind="stable")]
    return [part for part in np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1) if len(part)]
