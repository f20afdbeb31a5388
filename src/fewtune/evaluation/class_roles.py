"""What each class of a source is used for: train classes to train, validation classes to validate, test classes for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fewtune.backbones.features.readable import refuse_unreadable, without_labels
from fewtune.data.examples import NO_SPLIT, SPLITS, Examples, Integers
from fewtune.data.near import Leak, find_leaks, without_leaks
from fewtune.data.row_space import RowSpace
from fewtune.data.splits import held_out
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.task import Tasks, group_tasks, source_tasks
from fewtune.words import counted

_FOUND = {"content": "content", "perceptual hash": "their look", "text": "their words", "embedding": "their embedding"}
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


def tasks_of(space: RowSpace, part: Literal["train", "validation"], within: Literal["all", "group"]) -> Tasks | None:
    """One task a source (or a group of one), of its classes of a part; None where there are fewer than two such classes."""
    classes = np.unique(space.labels[space.labels >= 0])
    if (space.class_split[classes] == SPLITS[part]).sum() < 2:
        return None
    return (group_tasks if within == "group" else source_tasks)(space, part)


def without_test_rows(source: Examples, target: Examples) -> tuple[Examples, tuple[Leak, ...]]:
    """(the source without the rows that are test rows too, as they are or nearly so; those rows, each with what it was found by).

    Found by content, by the look of images and by the words of texts, as `adapt` finds them in its space; not by embeddings, since a
    source is not embedded as it is. Raises InputError where rows of fewer than two classes are left.
    """
    _ = target.row_digests, source.row_digests  # computed once; the study uses them too
    leaks = find_leaks(target, [source])
    kept = without_leaks(source, leaks)
    if len(np.unique(kept.labels[kept.labels >= 0])) < 2:
        raise InputError(
            f"{len(source) - len(kept):,} of {len(source):,} rows of source {source.name} are test rows: give the data train and test "
            "classes (on the command line --class-split 0 takes them at random), or name another source."
        )
    return kept, leaks


def usable_sources(sources: Sequence[Examples], targets: Sequence[Examples], seed: int = 0) -> tuple[list[Examples], list[str]]:
    """(the rows of each source that may be learned from, what was left out of them, a sentence each). `targets`: the rows tested on.

    What is left out for one target is left out for all, so one trained model is tested on every target.
    """
    found, said = [], []
    for source in sources:
        kept = serving(source, seed=seed)
        for target in targets:
            kept, leaks = without_test_rows(kept, target)
            if leaks:
                said.append(left_out(kept, leaks))
        found.append(kept)
    return found, said


def source_space(sources: Sequence[Examples], *, skip_bad: bool, memory: float) -> RowSpace | None:
    """The sources in one row space that keeps `memory` GiB of prepared images; None where there are no sources.

    Rows that cannot be read have no label with `skip_bad`; without, they are refused in one InputError.
    """
    if not sources:
        return None
    kept = []
    for one in sources:
        bad = unreadable(one, deep=False)
        refuse_unreadable(one, bad, skip_bad)
        kept.append(without_labels(one, bad))
    return RowSpace(kept, remember=int(memory * 2**30))


def left_out(source: Examples, leaks: Sequence[Leak]) -> str:
    """What was left out of a source, and by what it was found, as a sentence; of a row the strongest evidence counts."""
    how: dict[int, str] = {}
    for leak in leaks:
        how.setdefault(leak.row, leak.how)
    found = ", ".join(f"{number:,} by {_FOUND[name]}" for name, number in Counter(how.values()).items())
    return f"{counted(len(how), 'row')} of {source.name} left out of the source: tested on, as they are or nearly so ({found})."


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
