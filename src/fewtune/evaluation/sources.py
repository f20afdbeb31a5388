"""Which classes of a source serve what: train classes train, validation classes validate, test classes are never touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from fewtune.data.examples import NO_SPLIT, SPLITS, Examples, Integers
from fewtune.data.pool import Pool
from fewtune.data.splits import held_out
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.task import Tasks, group_tasks, source_tasks

VALIDATION_ROWS = 40  # of a class, at most: enough for 20 shots and 20 queries


def serving(examples: Examples, seed: int = 0) -> Examples:
    """The rows of a source that may be used: those of train and validation classes, the latter held out where there are none.

    A collection without class splits gives all its classes; with fewer than four, none of them validate. Raises InputError where no two
    classes are left to train on.
    """
    split = held_out(examples, seed=seed).class_split.copy()
    split[split == NO_SPLIT] = SPLITS["train"] if (split == NO_SPLIT).all() else NO_SPLIT
    train, validation = (np.flatnonzero(split == SPLITS[part]) for part in ("train", "validation"))
    labelled = np.unique(examples.labels[examples.labels >= 0])
    if len(np.intersect1d(train, labelled)) < 2:
        found = len(np.intersect1d(train, labelled))
        raise InputError(f"{examples.name} has {found} training classes with rows to learn from: expected two or more to finetune on.")
    marked = replace(examples, class_split=split)
    code = np.append(split, NO_SPLIT)[marked.labels]
    chosen = np.isin(code, (SPLITS["train"], SPLITS["validation"]))
    few = np.flatnonzero(code == SPLITS["validation"])
    spare = few[_surplus(marked.labels[few], seed)] if len(validation) else few
    chosen[spare] = False
    return marked.take(np.flatnonzero(chosen))


def tasks_of(pool: Pool, part: Literal["train", "validation"], within: Literal["all", "group"]) -> Tasks | None:
    """One task a source (or a group of one), of its classes of a part; None where there are fewer than two such classes."""
    classes = np.unique(pool.labels[pool.labels >= 0])
    if (pool.class_split[classes] == SPLITS[part]).sum() < 2:
        return None
    return (group_tasks if within == "group" else source_tasks)(pool, part)


def without_test_rows(source: Examples, target: Examples) -> tuple[Examples, int]:
    """(the source without the rows that are test rows too, by content; how many those were). Raises InputError where few are left."""
    tested = set(target.row_digests)
    kept = [row for row, digest in enumerate(source.row_digests) if digest not in tested]
    shared = len(source) - len(kept)
    if len(np.unique(source.labels[kept])) < 2:
        raise InputError(
            f"{shared:,} of {len(source):,} rows of source {source.name} are test rows: give the data train and test classes "
            "(--class-split 0 takes them at random), or name another source."
        )
    return (source.take(kept) if shared else source), shared


def _surplus(labels: Integers, seed: int) -> Integers:
    """Places of rows beyond the first VALIDATION_ROWS of their class, in an order that depends on the seed."""
    order = key(seed, "validation rows").generator().permutation(len(labels))
    seen: dict[int, int] = {}
    beyond = []
    for place in order.tolist():
        label = int(labels[place])
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > VALIDATION_ROWS:
            beyond.append(place)
    return np.array(sorted(beyond), dtype=np.int64)
