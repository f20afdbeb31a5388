"""Related data: what a pool of other labelled collections lends to a target, and which of its classes serve what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from fewtune.adaptation.leaks import Leak, find_leaks, without_leaks
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.readable import refuse_unreadable
from fewtune.backbones.table import feature_table
from fewtune.data.audit import unreadable
from fewtune.data.examples import SPLITS, TEST, Examples, Integers
from fewtune.data.pool import Pool
from fewtune.errors import InputError
from fewtune.evaluation.sources import serving
from fewtune.keys import key
from fewtune.tasks.task import Tasks, source_tasks
from fewtune.words import counted

MOST_ROWS = 20  # of a class: enough for episodes of 10 shots and 10 queries; a class always lends the same ones
MOST_JUDGES = 20  # classes of a source that are held out of training
REMEMBERED = 2 << 30  # bytes of prepared images: every one is looked at many times

Part = Literal["train", "validation", "judging"]
_CODES = {"train": SPLITS["train"], "validation": SPLITS["validation"], "judging": SPLITS["test"]}


@final
@dataclass(frozen=True, eq=False)
class Related:
    """The rows of the pool that may be used, at most a few of each class, in one row space.

    Of each source train classes are learned from, validation classes choose the learning rate, the steps and the share of the start, and
    judging classes do nothing but judge the outcome; its own test classes and test rows are never touched. `leaks`: rows that the target
    has too, which were left out, by their place in `lent`, the sources with them. `notes`: what was left out and why, a sentence each.
    `features` [N, D]: of the pool's rows, by the backbone as it is.
    """

    pool: Pool
    lent: Sequence[Examples]
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    features: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.pool.sources)

    @cached_property
    def _parts(self) -> dict[str, Tasks | None]:
        return {part: self._tasks(code) for part, code in _CODES.items()}

    def tasks(self, part: Part, sources: Sequence[str] | None = None) -> Tasks | None:
        """One task a source (of those named), of its classes of a part; None where no source has two such classes."""
        found = self._parts[part]
        if found is None or sources is None:
            return found
        wanted = [i for i, name in enumerate(found.names) if name in sources]
        return found.take(wanted) if wanted else None

    def sources_of(self, tasks: Tasks) -> tuple[str, ...]:
        """The sources whose classes some tasks hold, by name."""
        classes = np.unique(tasks.slot_class[tasks.slots])
        found = np.unique(np.searchsorted(self.pool.class_starts, classes, side="right") - 1)
        return tuple(sorted(self.names[i] for i in found))

    def _tasks(self, code: int) -> Tasks | None:
        labels = self.pool.labels
        rows = np.flatnonzero((labels >= 0) & (np.append(self.pool.class_split, -1)[labels] == code))
        if not len(rows):
            return None
        found = source_tasks(self.pool, "all", rows)
        enough = [t for t in range(len(found)) if len(found.slots_of(t)) >= 2]
        return found.take(enough) if enough else None


def related_pool(
    sources: Sequence[Examples],
    target: Examples,
    target_rows: Integers,
    target_features: Tensor,
    backbone: Backbone,
    *,
    most: int = MOST_ROWS,
    seed: int = 0,
    skip_bad: bool = False,
    cache: Path | None = None,
    quiet: bool = False,
) -> Related:
    """What the pool lends, with at most `most` rows of a class. `target_rows`: the target's rows, test rows among them; none of them may
    be in the pool under any name. `target_features`: of all its rows.

    Raises InputError for another modality, for two sources of one name, and for rows that cannot be read (unless `skip_bad`).
    """
    named = _named(sources)
    for source in named:
        if source.modality != target.modality:
            raise InputError(f"the target holds {target.modality}s, but pool {source.name} holds {source.modality}s.")
    notes: list[str] = []
    usable = [_few(source, most, seed, skip_bad, notes) for source in named]
    whole = Pool(usable)
    table = feature_table(backbone, whole, folder=cache, quiet=quiet)
    if table.bad:  # headers were fine
        row, reason = next(iter(sorted(table.bad.items())))
        raise InputError(f"{whole.row_name(row)} cannot be read ({reason}): mend or remove it, or pass --skip-bad.")
    if table.features.shape[1] != target_features.shape[1]:
        raise InputError(f"the target's embeddings have width {target_features.shape[1]}, the pool's {table.features.shape[1]}.")
    leaks = find_leaks(
        target, usable, target_rows, target_features=target_features[torch.from_numpy(target_rows)], pool_features=table.features
    )
    kept, places = [], []
    for source, start in zip(usable, whole.starts.tolist(), strict=False):
        lost = {leak.row for leak in leaks if leak.source == source.name}
        if lost:
            notes.append(f"{source.name}: {counted(len(lost), 'row', ('is', 'are'))} in the target too, and left out.")
        kept.append(without_leaks(source, leaks))
        places += [start + row for row in range(len(source)) if row not in lost]
    pool = Pool(kept, remember=REMEMBERED)
    related = Related(pool, usable, leaks, tuple(notes), table.features[torch.tensor(places)])
    if related.tasks("train") is None:
        raise InputError("no two classes of the pool are left to finetune on, once rows of the target are left out: give other data.")
    return related


def _named(sources: Sequence[Examples]) -> list[Examples]:
    """The sources under names of their own: a second collection of one name gets a number."""
    seen: dict[str, int] = {}
    made = []
    for source in sources:
        seen[source.name] = number = seen.get(source.name, 0) + 1
        made.append(source if number == 1 else replace(source, name=f"{source.name} {number}"))
    return made


def _few(source: Examples, most: int, seed: int, skip_bad: bool, notes: list[str]) -> Examples:
    """The rows of a source that may be used: none of its test rows, some classes held out, a few rows of each class."""
    if source.column.kind != "class":
        raise InputError(f"pool {source.name} holds {source.column.kind} targets: expected class labels.")
    trained = source.take(np.flatnonzero((source.labels >= 0) & (source.row_split != TEST)))
    marked = _judged(serving(trained, seed=seed), seed)
    few = marked.take(_first_rows(marked, most))
    bad = unreadable(few, deep=skip_bad)  # what is not left out now is refused when it is decoded
    refuse_unreadable(few, bad, skip_bad)
    if bad:
        notes.append(f"{source.name}: {counted(len(bad), 'row')} cannot be read and {'was' if len(bad) == 1 else 'were'} left out.")
        few = few.take([r for r in range(len(few)) if r not in bad])
    return few


def _judged(source: Examples, seed: int) -> Examples:
    """Half of the validation classes become judges where there are four or more; of very many, the first by their names' keys stay."""
    split = source.class_split.copy()
    held = np.flatnonzero(split == SPLITS["validation"])
    present = np.intersect1d(held, np.unique(source.labels[source.labels >= 0]))
    order = sorted(present.tolist(), key=lambda c: (key(seed, "judges", source.class_names[c]).value, source.class_names[c]))
    split[order[MOST_JUDGES:]] = -1
    chosen = order[:MOST_JUDGES]
    if len(chosen) >= 4:
        split[chosen[1::2]] = _CODES["judging"]
    made = replace(source, class_split=split)
    return made.take(np.flatnonzero(np.append(split, -1)[made.labels] >= 0))


def _first_rows(source: Examples, most: int) -> Integers:
    """At most `most` rows of each class, by the digest of their content: the same ones whatever else is in the collection."""
    order = sorted(range(len(source)), key=source.row_digests.__getitem__)
    seen: dict[int, int] = {}
    kept = []
    for row in order:
        label = int(source.labels[row])
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            kept.append(row)
    return np.array(sorted(kept), dtype=np.int64)
