"""SourceRows: which rows of other labelled data may be used for a target, and what each of their classes is used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.examples import Examples, Integers
from fewtune.data.near import Leak, find_leaks, without_leaks
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.sides.job import Job
from fewtune.sources.roles import PARTS, Part, TooSmallError, mark_rows, without_overlap
from fewtune.tasks.task import Tasks, source_tasks
from fewtune.words import counted, option

MOST_ROWS = 20  # of a class: enough for episodes of 10 shots and 10 queries; always the same ones
REMEMBERED = 2 << 30  # bytes of prepared images: every one is looked at many times


@final
@dataclass(frozen=True, eq=False)
class SourceRows:
    """The rows of the sources that may be used, at most a few of each class, in one row space.

    Of each source train classes are learned from, validation classes choose the learning rate, the steps and the share of the start, and
    judging classes do nothing but judge the outcome; its own test classes and test rows are never touched. `leaks`: rows that the target
    has too, which were left out, by their place in `marked`, the sources with them. `notes`: what was left out and why, a sentence each.
    `features` [N, D]: of the sources' rows, by the backbone as it is.
    """

    space: RowSpace
    marked: Sequence[Examples]
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    features: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.space.sources)

    @cached_property
    def _parts(self) -> dict[str, Tasks | None]:
        return {part: self._tasks(code) for part, code in PARTS.items()}

    def tasks(self, part: Part, sources: Sequence[str] | None = None) -> Tasks | None:
        """One task a source (of those named), of its classes of a part; None where no source has two such classes of two rows."""
        found = self._parts[part]
        if found is None or sources is None:
            return found
        wanted = [i for i, name in enumerate(found.names) if name in sources]
        return found.take(wanted) if wanted else None

    def sources_of(self, tasks: Tasks) -> tuple[str, ...]:
        """The sources whose classes some tasks hold, by name."""
        return self.leading(tasks, len(self.names))

    def leading(self, tasks: Tasks, most: int) -> tuple[str, ...]:
        """Of the sources of some tasks the `most` that most of their classes are from, by name."""
        source = np.searchsorted(self.space.class_starts, tasks.slot_class[tasks.slots], side="right") - 1
        found, count = np.unique(source, return_counts=True)
        ranked = sorted(zip((-count).tolist(), (self.names[i] for i in found), strict=True))
        return tuple(sorted(name for _, name in ranked[:most]))

    def _tasks(self, code: int) -> Tasks | None:
        labels = self.space.labels
        rows = np.flatnonzero((labels >= 0) & (np.append(self.space.class_split, -1)[labels] == code))
        rows = rows[np.bincount(labels[rows], minlength=1)[labels[rows]] >= 2]  # one to show, one to ask
        if not len(rows):
            return None
        found = source_tasks(self.space, "all", rows)
        enough = [t for t in range(len(found)) if len(found.slots_of(t)) >= 2]
        return found.take(enough) if enough else None


def usable_rows(
    sources: Sequence[Examples],
    target: Examples,
    target_rows: Integers,
    target_features: Tensor,
    backbone: Backbone,
    job: Job,
    *,
    most: int = MOST_ROWS,
) -> SourceRows:
    """The usable rows of the sources, at most `most` of a class. `target_rows`: the target's rows, test rows among them; none of them may
    be in the sources under any name. `target_features`: of all its rows.

    Raises InputError for another modality, where no source has enough, and for rows that cannot be read (unless `job.skip_bad`).
    """
    named = _named(sources)
    for source in named:
        if source.modality != target.modality:
            raise InputError(f"the target holds {target.modality}s, but source {source.name} holds {source.modality}s.")
    notes: list[str] = []
    usable = without_overlap(_marked(named, most, job, notes), notes)
    whole = RowSpace(usable)
    table = feature_table(backbone, whole, folder=job.at.cache, quiet=job.at.quiet)
    if table.bad:  # headers were fine
        row, reason = next(iter(sorted(table.bad.items())))
        raise InputError(f"{whole.row_name(row)} cannot be read ({reason}): mend it, or leave it out: {option('--skip-bad')}.")
    if table.features.shape[1] != target_features.shape[1]:
        raise InputError(f"the target's embeddings have width {target_features.shape[1]}, the sources' {table.features.shape[1]}.")
    # features at a mask are an answer, which many texts share: they say nothing about copies
    by_features = not backbone.answers_prompts
    leaks = find_leaks(
        target,
        usable,
        target_rows,
        target_features=target_features[torch.from_numpy(target_rows)] if by_features else None,
        source_features=table.features if by_features else None,
    )
    kept, places = [], []
    for source, start in zip(usable, whole.starts.tolist(), strict=False):
        lost = {leak.row for leak in leaks if leak.source == source.name}
        if lost:
            notes.append(f"{source.name}: {counted(len(lost), 'row', ('is', 'are'))} in the target too, and left out.")
        kept.append(without_leaks(source, leaks))
        places += [start + row for row in range(len(source)) if row not in lost]
    space = RowSpace(kept, remember=REMEMBERED)
    source_rows = SourceRows(space, usable, leaks, tuple(notes), table.features[torch.tensor(places, dtype=torch.int64)])
    if source_rows.tasks("train") is None:
        raise InputError("no two classes of the sources are left to finetune on, once rows of the target are left out: give other data.")
    return source_rows


def _marked(sources: Sequence[Examples], most: int, job: Job, notes: list[str]) -> list[Examples]:
    """The usable rows of each source; one that is too small is left out with a note, and refused only where no other is left."""
    marked, problems = [], []
    for source in sources:
        try:
            marked.append(mark_rows(source, most, job.seed, job.skip_bad, notes))
        except TooSmallError as problem:
            problems.append(problem)
            notes.append(f"{source.name} was left out: it {str(problem).removeprefix(source.name).strip()}")
    if problems and not marked:
        raise InputError(str(problems[0]))
    return marked


def _named(sources: Sequence[Examples]) -> list[Examples]:
    """The sources under names of their own: a second collection of one name gets a number."""
    seen: dict[str, int] = {}
    made = []
    for source in sources:
        seen[source.name] = number = seen.get(source.name, 0) + 1
        made.append(source if number == 1 else replace(source, name=f"{source.name} {number}"))
    return made
