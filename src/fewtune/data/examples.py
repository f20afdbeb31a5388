"""Examples: one collection of rows 0..N-1 with named label columns, class names, groups and splits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.items import Items, Modality, content_digest
from fewtune.data.subset import on_disk, subset
from fewtune.data.threads import in_threads
from fewtune.errors import InputError, unknown

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
NO_SPLIT, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
LABEL = "label"  # the label column of a collection that has no other name for it


@final
@dataclass(frozen=True, eq=False)
class Column:
    """One label column.

    kind "class": integers [N], -1 missing, named by `names`. kind "float": [N, d], NaN missing.
    kind "multi": multi-hot [N, L] of 0 and 1, -1 missing, named by `names`. `templates`: sentences with one `{}` for a class name, that
    suit these classes; () where none are known.
    """

    kind: Literal["class", "float", "multi"]
    values: np.ndarray[Any, Any]
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    @property
    def known(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows [N] have a label."""
        if self.kind == "float":
            return np.asarray(~np.isnan(self.values).any(axis=1), dtype=bool)
        return np.asarray(self.values >= 0 if self.kind == "class" else (self.values >= 0).any(axis=1), dtype=bool)


@final
@dataclass(frozen=True, eq=False)
class Skipped:
    """A row that was left out while reading, and why."""

    name: str
    reason: str


@final
@dataclass(frozen=True, eq=False)
class Examples:
    """One collection.

    `name`: the name of the collection (class ids of a row space are "name/class"). `row_names`: the name of each row in messages and
    predictions (a path, or "file:line"). `columns`: label columns by name; `target` is the name of the one to learn.
    `class_split` [K] and `row_split` [N]: -1 none, 0 train, 1 validation, 2 test. `group` [N]: -1 none, else an index into `group_names`.
    `caption`: a text for each row, or None. `skipped`: what was left out while reading. `remarks`: sentences on how the data was read
    that a person should know.
    """

    name: str
    items: Items
    columns: Mapping[str, Column]
    target: str
    row_names: Sequence[str]
    class_split: Integers
    row_split: Integers
    group: Integers
    group_names: tuple[str, ...] = ()
    caption: Sequence[str] | None = None
    skipped: tuple[Skipped, ...] = field(default=())
    remarks: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        count = len(self.items)
        assert len(self.row_names) == len(self.row_split) == len(self.group) == count
        assert all(len(column.values) == count for column in self.columns.values())
        assert len(self.class_split) == len(self.class_names)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def modality(self) -> Modality:
        return self.items.modality

    @property
    def column(self) -> Column:
        """The target label column."""
        return self.columns[self.target]

    @property
    def labels(self) -> Integers:
        """Class integers [N] of the target column, -1 if missing. Raises InputError for float and multi-hot targets."""
        if self.column.kind != "class":
            raise InputError(f"{self.name}: label column {self.target!r} holds {self.column.kind} targets; expected class labels.")
        return self.column.values

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.column.names

    def counts(self) -> Integers:
        """Number of rows of each class [K]."""
        labels = self.labels
        return np.bincount(labels[labels >= 0], minlength=len(self.class_names))

    def take(self, rows: Sequence[int] | Integers) -> Examples:
        """The same collection with only these rows, in this order; itself where these are all. The classes and their names stay."""
        index = np.asarray(rows, dtype=np.int64)
        if len(index) == len(self) and np.array_equal(index, np.arange(len(self))):
            return self  # mapped rows are then not copied
        taken = replace(
            self,
            items=subset(self.items, index),
            columns={name: replace(c, values=c.values[index]) for name, c in self.columns.items()},
            row_names=[self.row_names[i] for i in index],
            row_split=self.row_split[index],
            group=self.group[index],
            caption=None if self.caption is None else [self.caption[i] for i in index],
        )
        if (known := self.__dict__.get("row_digests")) is not None:  # the content is the same, so nothing is read again
            taken.__dict__["row_digests"] = [known[i] for i in index]
        return taken

    def split_by_class(self) -> Integers:
        """The split of the class of each row [N]; -1 for rows without a class, and where the target is no class."""
        return np.append(self.class_split, NO_SPLIT)[self.labels] if self.column.kind == "class" else np.full(len(self), NO_SPLIT)

    def with_target(self, target: str) -> Examples:
        """The same collection with another label column as the target; its classes have no split."""
        if target not in self.columns:
            raise unknown("label column", target, self.columns)
        none = np.full(len(self.columns[target].names), NO_SPLIT)
        return self if target == self.target else replace(self, target=target, class_split=none)

    def with_columns(self, columns: Mapping[str, Column]) -> Examples:
        """The same collection with more label columns, each with a value for every row."""
        return replace(self, columns={**self.columns, **columns})

    def digest(self) -> str:
        """A digest of the content of the rows, in order: 32 hexadecimal digits. Labels and names are not part of it."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.blake2b(b"".join([self.modality.encode(), *self.row_digests]), digest_size=16).hexdigest()

    @cached_property
    def row_digests(self) -> list[bytes]:
        """A digest of 16 bytes of each row's content, computed once (files are read in threads). For a file that cannot be read: of its
        name.
        """

        def one(row: int) -> bytes:
            try:
                return self.items.digest(row)
            except InputError:
                return content_digest(f"unreadable {self.row_names[row]}".encode(errors="surrogatepass"))

        return in_threads(one, len(self)) if on_disk(self.items) else [one(row) for row in range(len(self))]


def of_classes(examples: Examples, classes: Integers) -> Examples:
    """Only the rows of these classes (distinct integers). The classes are numbered again, in the order given."""
    place = np.full(len(examples.class_names) + 1, -1)
    place[classes] = np.arange(len(classes))
    part = examples.take(np.flatnonzero(place[examples.labels] >= 0))
    column = replace(part.column, values=place[part.labels], names=tuple(examples.class_names[c] for c in classes.tolist()))
    return replace(part, columns={**part.columns, part.target: column}, class_split=examples.class_split[classes])


def by_group(examples: Examples) -> list[Examples]:
    """One collection for each group, with the name of the group and only its rows and classes."""
    found = []
    for number, name in enumerate(examples.group_names):
        part = examples.take(np.flatnonzero((examples.group == number) & (examples.labels >= 0)))
        found.append(replace(of_classes(part, np.unique(part.labels)), name=name))
    return found


def make_examples(
    items: Items,
    labels: Sequence[str | int | None] | Integers | Column | None = None,
    *,
    name: str = "data",
    class_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    row_split: Integers | None = None,
) -> Examples:
    """Examples with one label column, called "label", from what a reader has found.

    `labels`: class names or integers, one for each row (None and "" mean missing), or a whole Column of any kind. With `class_names`,
    integer labels are indices into them and -1 means missing. Without, the classes are the distinct labels in sorted order, and -1 is a
    class like any other. Blanks around a name are removed. `groups`: the name of each row's group (None and "" mean none). `row_split` [N]:
    -1 none, 0 train, 1 validation, 2 test. What else is known of a collection is set with `with_columns` and `dataclasses.replace`.
    """
    count = len(items)
    column = labels if isinstance(labels, Column) else Column("class", *_classes(labels, class_names, count, name))
    group_names = tuple(sorted({g for g in groups if g})) if groups is not None else ()
    group_ids = {g: i for i, g in enumerate(group_names)}
    return Examples(
        name=name,
        items=items,
        columns={LABEL: column},
        target=LABEL,
        row_names=list(row_names) if row_names is not None else [f"{name}:{i}" for i in range(count)],
        class_split=np.full(len(column.names), NO_SPLIT, dtype=np.int64),
        row_split=np.full(count, NO_SPLIT, dtype=np.int64) if row_split is None else row_split.astype(np.int64),
        group=np.array([group_ids.get(g or "", -1) for g in groups] if groups is not None else [-1] * count, dtype=np.int64),
        group_names=group_names,
    )


def class_splits(names: Sequence[str], split: Mapping[str, int]) -> Integers:
    """The split [K] of each class: 0, 1 or 2 as `split` says by name, -1 for one that it does not have."""
    return np.array([split.get(name, NO_SPLIT) for name in names], dtype=np.int64)


def _classes(
    labels: Sequence[str | int | None] | Integers | None, class_names: Sequence[str] | None, count: int, name: str
) -> tuple[Integers, tuple[str, ...]]:
    if labels is None:
        return np.full(count, -1, dtype=np.int64), tuple(class_names or ())
    if len(labels) != count:
        raise InputError(f"{name}: expected one label for each row, found {count} rows and {len(labels)} labels.")
    if class_names is not None and not isinstance(labels, np.ndarray) and any(_is_integer(label) for label in labels):
        if strange := [label for label in labels if label not in (None, "") and not _is_integer(label)]:
            raise InputError(f"{name}: labels mix integers with names such as {strange[0]!r}: expected one or the other.")
        labels = np.array([label if _is_integer(label) else -1 for label in labels], dtype=np.int64)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and class_names is not None:
        if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < len(class_names):
            raise InputError(f"{name}: labels go from {labels.min()} to {labels.max()}, but there are {len(class_names)} class names.")
        return labels.astype(np.int64), tuple(class_names)
    spelled = ["" if label is None else str(label).strip() for label in labels]
    names = tuple(class_names) if class_names is not None else tuple(sorted({s for s in spelled if s}, key=_natural))
    index = {c: i for i, c in enumerate(names)}
    if strange := sorted({s for s in spelled if s and s not in index}):
        raise InputError(f"{name}: label {strange[0]!r} is not among the class names {', '.join(names[:5])}, ...")
    return np.array([index.get(s, -1) for s in spelled], dtype=np.int64), names


def _is_integer(label: object) -> bool:
    return isinstance(label, int | np.integer) and not isinstance(label, bool)


def _natural(label: str) -> tuple[int, float, str]:
    """A sort key: numbers in numeric order, then words."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (1, 0.0, label) if math.isnan(number) else (0, number, label)
