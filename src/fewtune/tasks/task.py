"""Task: a labelled set restricted to some classes and rows. Tasks: many of them over one row space, laid out for fast drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import NO_SPLIT, SPLITS, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError, unknown

ClassChoice = Literal["train", "validation", "test", "all"]
Kind: TypeAlias = Literal["class", "float", "multi"]
KINDS: tuple[Kind, ...] = ("class", "float", "multi")  # a kind's number is its place


@final
@dataclass(frozen=True, eq=False)
class Task:
    """`classes` [M]: global class ids. `rows`: for each class, its rows of the row space, sorted."""

    column: str
    kind: Kind
    classes: Integers
    rows: tuple[Integers, ...]


@final
@dataclass(frozen=True, eq=False)
class Outputs:
    """What each slot asks a model for: `kind` [S], a place in `KINDS`; `count` [S] numbers, whose ids are `first`, `first` + 1, ... [S].

    A class column asks for a logit a class, a column of numbers for one number, a column of several labels at once for a logit a label.
    """

    kind: Integers
    first: Integers
    count: Integers

    def ids(self, slot: int) -> Integers:
        """The output ids of one slot."""
        return np.arange(self.first[slot], self.first[slot] + self.count[slot])


@final
@dataclass(frozen=True, eq=False)
class Tasks:
    """A sequence of tasks.

    A *slot* is a class seen by a task: `slot_class[s]` is its global class id and `order[start[s] : start[s] + count[s]]` its rows.
    Task t owns the slots `slots[bounds[t] : bounds[t + 1]]`; tasks may share slots. `names` says what a task is (a group, "all").
    `targets` [len(order), L]: what the rows at these places of `order` are labelled with where that is no class: floats, NaN missing, or
    multi-hot integers, -1 missing. A task then has one slot, of no class in particular (`target_tasks`). `taken`: see `ids`. `anchored`:
    whether a task's slots stand in order of nearness to its first one (`nearest_classes`). `outputs`: where each task is a label column
    (`label_tasks`), what slot s asks for.
    """

    order: Integers
    start: Integers
    count: Integers
    slot_class: Integers
    slots: Integers
    bounds: Integers
    names: tuple[str, ...]
    targets: np.ndarray[Any, np.dtype[Any]] | None = None
    taken: Integers | None = None
    anchored: bool = False
    outputs: Outputs | None = None

    @property
    def ids(self) -> Integers:
        """The number of each task in the collection that these were taken from: what episodes are marked with."""
        return np.arange(len(self)) if self.taken is None else self.taken

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[Task]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Task:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        mine = self.slots_of(index % len(self))
        rows = tuple(self.order[self.start[s] : self.start[s] + self.count[s]] for s in mine)
        if self.outputs is not None:
            slot = int(mine[0])
            return Task(self.names[index], KINDS[int(self.outputs.kind[slot])], self.outputs.ids(slot), rows)
        kind: Kind = "class" if self.targets is None else "float" if self.targets.dtype.kind == "f" else "multi"
        return Task("label", kind, self.slot_class[mine], rows)

    def slots_of(self, task: int) -> Integers:
        return self.slots[self.bounds[task] : self.bounds[task + 1]]

    def keep(self, least_rows: int, least_classes: int) -> Tasks:
        """The tasks that still have `least_classes` classes once classes with fewer than `least_rows` rows are left out.

        Raises InputError when no task is left; it says what there is and what was asked.
        """
        kept = [mine[self.count[mine] >= least_rows] for mine in map(self.slots_of, range(len(self)))]
        chosen = [i for i, mine in enumerate(kept) if len(mine) >= least_classes]
        if not chosen:
            most = max((len(mine) for mine in kept), default=0)
            classes = max((len(self.slots_of(i)) for i in range(len(self))), default=0)
            if classes < least_classes:
                raise InputError(f"expected at least {least_classes} classes (ways), found {classes}: ask for fewer ways.")
            raise InputError(
                f"expected at least {least_classes} classes with {least_rows} or more examples each (shots + queries), found {most} "
                f"(of {classes}; the smallest holds {self.count[self.slots].min()}): ask for fewer shots, queries or ways."
            )
        return self._with([kept[i] for i in chosen], chosen)

    def take(self, chosen: Sequence[int] | Integers) -> Tasks:
        """Some of the tasks, in this order."""
        return self._with([self.slots_of(int(i)) for i in chosen], chosen)

    def _with(self, slots: Sequence[Integers], owners: Sequence[int] | Integers) -> Tasks:
        names = tuple(self.names[int(i)] for i in owners)
        ids = self.ids[np.asarray(owners, dtype=np.int64)]
        return replace(self, slots=np.concatenate(slots), bounds=np.cumsum([0, *map(len, slots)]), names=names, taken=ids)

    def sizes(self) -> Integers:
        """Rows of each task [T]."""
        before: Integers = np.concatenate([[0], np.cumsum(self.count[self.slots])])
        size: Integers = before[self.bounds[1:]] - before[self.bounds[:-1]]
        return size

    def need_classes(self, who: str) -> None:
        """Raises InputError where the rows are labelled with targets."""
        if self.targets is not None:
            raise InputError(f"{who} draws by classes, but these rows are labelled with float or multi-hot targets: use Points or Pooled.")

    def need_one_kind(self, who: str) -> None:
        """Raises InputError where several tasks are each a label column of its own."""
        if self.outputs is not None and len(self) > 1:
            raise InputError(f"{who} puts the rows of all tasks together, but these tasks are label columns of their own: use PerTask.")


def class_rows(space: RowSpace, classes: ClassChoice = "all", rows: Integers | None = None) -> Tasks:
    """One task: every labelled row of the chosen classes (of `rows` only, where given).

    "test" of data without class splits is an error that says so; classes without any row are left out.
    """
    return _tasks(space, np.zeros(len(space), dtype=np.int64), (classes,), classes, rows)


def group_tasks(space: RowSpace, classes: ClassChoice = "all", rows: Integers | None = None) -> Tasks:
    """One task a group (an alphabet, a domain): the rows of that group. Raises InputError where the data has no groups."""
    if not space.group_names:
        raise InputError(f"{space.sources[0].name} has no groups (alphabets, domains): expected a group column.")
    return _tasks(space, space.groups, space.group_names, classes, rows)


def source_tasks(space: RowSpace, classes: ClassChoice = "all", rows: Integers | None = None) -> Tasks:
    """One task a source: its labelled rows of the chosen classes (of `rows` only, where given)."""
    source = np.repeat(np.arange(len(space.sources)), np.diff(space.starts))
    return _tasks(space, source, [s.name for s in space.sources], classes, rows)


def allowed_classes(space: RowSpace, classes: ClassChoice) -> Integers:
    """The global class ids of a choice."""
    if classes == "all":
        return np.arange(len(space.class_names))
    if classes not in SPLITS:
        raise unknown("choice of classes", classes, [*SPLITS, "all"])
    if (space.class_split == NO_SPLIT).all():
        raise InputError(f"{space.sources[0].name} has no train, validation and test classes: use all classes, or give it a class split.")
    found = np.flatnonzero(space.class_split == SPLITS[classes])
    if not len(found):
        raise InputError(f"{space.sources[0].name} has no {classes} classes: choose another part or all classes.")
    return found


def default_classes(space: RowSpace) -> ClassChoice:
    """ "test" where the data has test classes, else "all"."""
    return "test" if (space.class_split == SPLITS["test"]).any() else "all"


def _tasks(space: RowSpace, part: Integers, names: Sequence[str], classes: ClassChoice, rows: Integers | None) -> Tasks:
    """One task for each value of `part`; a slot is one (part, class) with its rows in increasing order."""
    allowed = np.zeros(len(space.class_names) + 1, dtype=bool)
    allowed[allowed_classes(space, classes)] = True
    labels = space.labels
    usable = allowed[labels] & (labels >= 0) & (part >= 0)
    if rows is not None:
        inside = np.zeros(len(space), dtype=bool)
        inside[rows] = True
        usable &= inside
    order = np.flatnonzero(usable)
    code = part[order] * len(space.class_names) + labels[order]
    order = order[np.argsort(code, kind="stable")]
    found, start, count = np.unique(np.sort(code), return_index=True, return_counts=True)
    owner = found // max(len(space.class_names), 1)
    present = np.unique(owner)
    bounds = np.concatenate([np.searchsorted(owner, present), [len(found)]])
    slot_class = found % max(len(space.class_names), 1)
    return Tasks(order, start, count, slot_class, np.arange(len(found)), bounds, tuple(names[i] for i in present))
