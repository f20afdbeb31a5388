"""From a collection as it was read to rows that can be learned from: checked, embedded, without duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.readable import readable_features
from fewtune.data.examples import TEST, Examples, Integers
from fewtune.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Target:
    """The target's rows with features [N, D]. `labels` [N] are 0..K-1 into `class_names`, -1 where a row is not used.

    `support`: the rows to learn from. `test`: the rows of a test split, for one final measurement. `left_out`: (row, reason).
    """

    examples: Examples
    features: Tensor
    labels: Integers
    class_names: tuple[str, ...]
    support: Integers
    test: Integers
    left_out: tuple[tuple[str, str], ...]
    digest: str

    def shots(self) -> Integers:
        """Support rows of each class [K]."""
        return np.bincount(self.labels[self.support], minlength=len(self.class_names))


def usable_target(examples: Examples, backbone: Backbone, *, cache: Path | None, skip_bad: bool, quiet: bool) -> Target:
    """Embed the rows and keep those that can be used.

    Unreadable rows and the same content under two classes are refused with their names, or left out with `skip_bad`; second copies within
    a class are always left out (they would make the held-out estimate too good).
    """
    _check_classes(examples)
    _, features, bad = readable_features(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
    copies, clashes = _duplicates(examples, set(bad))
    if clashes and not skip_bad:
        raise InputError(_clash(examples, clashes))
    reasons = bad | copies | {row: f"the same content as {other}, under another class" for row, other in clashes.items()}
    labels = examples.labels.copy()
    labels[list(reasons)] = -1
    support = np.flatnonzero((labels >= 0) & (examples.row_split != TEST))
    present = np.unique(labels[support])
    if len(present) < 2:
        raise InputError(f"{examples.name}: expected at least two classes with usable rows to learn from, found {len(present)}.")
    lookup = np.full(len(examples.class_names) + 1, -1)
    lookup[present] = np.arange(len(present))
    labels = lookup[labels]
    return Target(
        examples=examples,
        features=features,
        labels=labels,
        class_names=tuple(examples.class_names[c] for c in present),
        support=support,
        test=np.flatnonzero((labels >= 0) & (examples.row_split == TEST)),
        left_out=tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items()))
        + tuple((s.name, s.reason) for s in examples.skipped),
        digest=examples.digest(),
    )


def _check_classes(examples: Examples) -> None:
    found = int((examples.counts() > 0).sum())
    if found < 2:
        raise InputError(f"{examples.name}: expected at least two classes with examples, found {found}; add a class, or check the labels.")


def _duplicates(examples: Examples, bad: set[int]) -> tuple[dict[int, str], dict[int, str]]:
    """(second copies within a class, rows whose content stands under several classes), each with what it copies.

    A training row wins over its copy in the test split only in that the test copy is the one left out.
    """
    if examples.modality == "vector":
        return {}, {}
    labels = examples.labels
    same: dict[bytes, list[int]] = {}
    for row in np.argsort(examples.row_split == TEST, kind="stable").tolist():
        if labels[row] >= 0 and row not in bad:
            same.setdefault(examples.row_digests[row], []).append(row)
    copies: dict[int, str] = {}
    clashes: dict[int, str] = {}
    for rows in same.values():
        if len({int(labels[row]) for row in rows}) > 1:
            clashes |= {row: examples.row_names[next(r for r in rows if labels[r] != labels[row])] for row in rows}
        else:
            copies |= dict.fromkeys(rows[1:], f"a copy of {examples.row_names[rows[0]]}")
    return copies, clashes


def _clash(examples: Examples, clashes: dict[int, str]) -> str:
    row, other = next(iter(sorted(clashes.items())))
    name = examples.class_names[examples.labels[row]]
    return (
        f"{len(clashes)} rows have the same content under different classes, for example {examples.row_names[row]} ({name}) and {other}: "
        "keep each under one class, or pass --skip-bad to leave them out."
    )
