"""Shifts of features and of labels: other subgroups of the same classes, and other shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fewtune.data.examples import NO_SPLIT, Column, Examples, Integers
from fewtune.errors import InputError, unknown
from fewtune.keys import key
from fewtune.words import option


def held_out_subgroups(
    examples: Examples, members: Mapping[str, Sequence[str]] | None = None, share: float = 0.5, seed: int = 0
) -> tuple[Examples, Examples]:
    """(source, target): the same classes, each seen through other subgroups.

    `members`: new class -> the classes that it is made of (its subgroups), two or more each; None: the classes stay, and the groups of the
    collection (domains, alphabets) are their subgroups, which all classes share. The target has `share` of the subgroups of each class (at
    least one, and the source keeps at least one), drawn by (`seed`, names). Rows of no class are in neither. Raises InputError where there
    is nothing to hold out, for a class that one side would not have, and for names that are not classes.
    Reference: Santurkar, Tsipras, Madry, "BREEDS: benchmarks for subpopulation shift", ICLR 2021 (Entity-30, Living-17).
    """
    if not 0 < share < 1:
        raise InputError(f"share of the subgroups is between 0 and 1, found {share}.")
    if members is None:
        return _by_group(examples, share, seed)
    place = {name: c for c, name in enumerate(examples.class_names)}
    joined = np.full(len(place) + 1, -1)
    there = np.zeros(len(place) + 1, dtype=bool)
    for new, (name, parts) in enumerate(members.items()):
        for part in parts:
            if part not in place:
                raise unknown("class", part, place)
            if joined[place[part]] >= 0:
                raise InputError(f"class {part!r} is a subgroup of two classes: expected it in one.")
            joined[place[part]] = new
        held = _held(parts, share, seed, name)
        there[[place[part] for part in held]] = True
    column = Column("class", joined[examples.labels], tuple(members))
    coarse = replace(
        examples, columns={**examples.columns, examples.target: column}, class_split=np.full(len(members), NO_SPLIT, dtype=np.int64)
    )
    known, target = column.values >= 0, there[examples.labels]
    return _named(coarse, known & ~target, "source"), _named(coarse, known & target, "target")


def _by_group(examples: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    if len(examples.group_names) < 2:
        found = "one group" if examples.group_names else "no groups"
        raise InputError(
            f"{examples.name} has {found}: expected at least two groups, so that some can be held out; name a column of them with "
            f"{option('--group NAME')}, or give the subgroups of each class (in Python members={{...}})."
        )
    held = _held(examples.group_names, share, seed, examples.name)
    target = np.isin(examples.group, [examples.group_names.index(name) for name in held])
    known = (examples.labels >= 0) & (examples.group >= 0)
    sides = [np.bincount(examples.labels[known & side], minlength=len(examples.class_names)) > 0 for side in (~target, target)]
    if (lost := np.flatnonzero(sides[0] != sides[1])).size:
        where = "are held out" if sides[1][lost[0]] else "are kept"
        raise InputError(
            f"all groups of class {examples.class_names[lost[0]]!r} of {examples.name} {where}: expected groups that all classes share; "
            "give the subgroups of each class (members), or another share or seed."
        )
    return _named(examples, known & ~target, "source"), _named(examples, known & target, "target")


def reweighted(examples: Examples, shares: Mapping[str, float] | Sequence[float], seed: int = 0) -> Examples:
    """As many rows as possible such that the classes have these shares: a shift of the labels.

    `shares`: one number for each class, by name or in the order of the classes, at least 0; they need not sum to 1. Classes with share 0
    lose all rows. Counts are the shares of the largest total that the rows allow, rounded down (at least 1 for a share above 0); which rows
    stay is drawn by (`seed`, class). Rows without a label are left out. Raises InputError for other names or numbers, or for a class with a
    share but no rows.
    """
    names = examples.class_names
    if isinstance(shares, Mapping):
        for name in shares:
            if name not in names:
                raise unknown("class", name, names)
        weights = np.array([float(shares.get(name, 0.0)) for name in names])
    else:
        weights = np.asarray(shares, dtype=np.float64)
    if weights.shape != (len(names),) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise InputError(f"expected a share of at least 0 for each of {len(names)} classes, and some above 0.")
    counts, asked = examples.counts(), weights > 0
    if empty := [names[c] for c in np.flatnonzero(asked & (counts == 0))]:
        raise InputError(f"class {empty[0]!r} has no rows, but a share above 0.")
    total = (counts[asked] / weights[asked]).min()
    wanted = np.where(asked, np.maximum(1, np.floor(weights * total + 1e-9)), 0).astype(np.int64)
    rows = [_some(examples, c, int(wanted[c]), seed) for c in range(len(names))]
    return replace(examples.take(np.sort(np.concatenate(rows))), name=f"{examples.name}@reweighted")


def _some(examples: Examples, label: int, count: int, seed: int) -> Integers:
    rows = np.flatnonzero(examples.labels == label)
    order = np.argsort(key(seed, "reweighted", examples.class_names[label]).uniform(np.arange(len(rows), dtype=np.uint64)), kind="stable")
    return rows[order[:count]]


def _held(names: Sequence[str], share: float, seed: int, what: str) -> list[str]:
    """The subgroups of a class that the target has."""
    if len(set(names)) < 2:
        raise InputError(f"{what!r} has {len(set(names))} subgroups: expected at least two, so that some can be held out.")
    order = sorted(set(names), key=lambda name: (key(seed, "subgroup", what, name).value, name))
    return order[: min(len(order) - 1, max(1, round(share * len(order))))]


def _named(examples: Examples, rows: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], part: str) -> Examples:
    return replace(examples.take(np.flatnonzero(rows)), name=f"{examples.name}@{part}")
