"""What is in a collection, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import final

import numpy as np

from fewtune.data.class_names import remarks_on
from fewtune.data.examples import NO_SPLIT, SPLITS, Examples, Skipped
from fewtune.data.images import Header, bits_used, header
from fewtune.data.items import Modality, content_digest
from fewtune.data.reading.order import some
from fewtune.data.rotations import turn_of
from fewtune.data.sixteen import remark_on_bits
from fewtune.data.subset import source_of
from fewtune.data.threads import in_threads
from fewtune.data.unreadable import encoded_image, reason_of, why_lost
from fewtune.errors import InputError

IMBALANCE = 10.0  # a remark is made if the largest class is at least this many times the smallest
FEW = 2  # a class with fewer rows than this has none to hold out


@final
@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of a quantity."""

    least: float
    median: float
    most: float


@final
@dataclass(frozen=True, kw_only=True)
class Audit:
    """What `inspect_examples` found; plain values throughout.

    `counts`: number of rows of each class, in the order of the class names. `splits`, `groups`, `formats`, `modes`: number of rows of each.
    `remarks`: sentences on how the data was read and on its class names. `unreadable`: row name -> reason. `duplicates`: names of rows with
    the same content and the same class (or no class). `clashes`: (row name, class) of rows with the same content and different classes.
    `leaks`: names of rows with the same content in different splits. `bits`: for 16-bit images that use fewer than 16 bits: number of bits
    used -> number of images (filled only if `deep`). `imbalance`: size of the largest class divided by the size of the smallest class that
    has rows. `width`, `height`: in pixels. `length`: in characters, of texts. `deep`: whether every pixel was decoded. If not, only image
    headers were read, and the contents of files on disk were not compared.
    """

    name: str
    modality: Modality
    rows: int
    target: str
    kind: str
    counts: Mapping[str, int]
    unlabelled: int
    splits: Mapping[str, int]
    groups: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    remarks: tuple[str, ...]
    unreadable: Mapping[str, str]
    duplicates: tuple[tuple[str, ...], ...]
    clashes: tuple[tuple[tuple[str, str], ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    imbalance: float
    width: Spread | None
    height: Spread | None
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    bits: Mapping[int, int]
    length: Spread | None
    dimension: int | None
    deep: bool

    def sentences(self) -> list[str]:
        """Findings that a person should act on, the most serious first; empty if all is well."""
        said = []
        empty = [name for name, count in self.counts.items() if count == 0]
        single = [name for name, count in self.counts.items() if 0 < count < FEW]
        if self.unreadable:
            listed = some((f"{name} ({reason.rstrip('.')})" for name, reason in self.unreadable.items()), 3)
            said.append(f"{_many(len(self.unreadable), 'row')} cannot be read: {listed}.")
        if self.clashes:
            first = " and ".join(f"{row} ({label})" for row, label in self.clashes[0][:2])
            said.append(
                f"The same content is in different classes {_times(len(self.clashes))}, for example {first}: one label must be wrong."
            )
        if self.leaks:
            first = " and ".join(self.leaks[0][:2])
            said.append(
                f"The same content is in different splits {_times(len(self.leaks))}, for example {first}: test results would look too good."
            )
        if self.duplicates:
            extra = sum(len(names) - 1 for names in self.duplicates)
            first = " and ".join(self.duplicates[0][:2])
            said.append(f"{_many(extra, 'row')} exactly like another one of the same class, for example {first}.")
        if self.kind == "class" and sum(count > 0 for count in self.counts.values()) < 2:
            said.append("Fewer than two classes have rows: there is nothing to learn.")
        if empty:
            said.append(f"{_many(len(empty), 'class', 'classes')} without a row: {some(empty)}.")
        if single:
            said.append(
                f"{_many(len(single), 'class', 'classes')} with a single row, so no row can be held out to measure on: {some(single)}."
            )
        said += self.remarks
        if self.imbalance >= IMBALANCE:
            said.append(f"The largest class is {self.imbalance:.0f} times the size of the smallest: look at the recall of each class.")
        if self.unlabelled:
            said.append(f"{_many(self.unlabelled, 'row')} without a label: the model does not learn from them.")
        if self.bits:
            said.append(remark_on_bits(self.bits))
        if self.skipped:
            listed = some((f"{s.name} ({s.reason})" for s in self.skipped), 3)
            said.append(f"{_many(len(self.skipped), 'file')} skipped: {listed}.")
        return said


def _many(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


@final
@dataclass(frozen=True)
class _Look:
    """What was found in one row."""

    reason: str | None
    header: Header | None
    digest: bytes | None
    bits: int | None = None


def inspect_examples(examples: Examples, deep: bool = True) -> Audit:
    """Look at every row once, in threads; memory does not grow with the size of the rows.

    `deep`: decode every image and compare contents. If False, only headers are read; contents in memory are still compared.
    """
    looks = in_threads(lambda row: _look(examples, row, deep), len(examples))
    column = examples.column
    known = column.kind == "class"
    counts = dict(zip(column.names, examples.counts().tolist(), strict=True)) if known else {}
    present = [count for count in counts.values() if count]
    same, clashes, leaks = _copies(examples, [look.digest for look in looks])
    headers = [look.header for look in looks if look.header is not None]
    texts = [len(str(examples.items.fetch(row))) for row in range(len(examples))] if examples.modality == "text" else []
    dimension = int(np.size(np.asarray(examples.items.fetch(0)))) if examples.modality == "vector" and len(examples) else None
    return Audit(
        name=examples.name,
        modality=examples.modality,
        rows=len(examples),
        target=examples.target,
        kind=column.kind,
        counts=counts,
        unlabelled=_unlabelled(examples),
        splits={word: n for word, code in SPLITS.items() if (n := int((examples.row_split == code).sum()))},
        groups={name: int((examples.group == i).sum()) for i, name in enumerate(examples.group_names)},
        skipped=examples.skipped,
        remarks=remarks_on(examples),
        unreadable={examples.row_names[row]: look.reason for row, look in enumerate(looks) if look.reason is not None},
        duplicates=same,
        clashes=clashes,
        leaks=leaks,
        imbalance=max(present) / min(present) if present else 1.0,
        width=_spread([h.width for h in headers]),
        height=_spread([h.height for h in headers]),
        formats=dict(Counter(h.format for h in headers).most_common()),
        modes=dict(Counter(h.mode for h in headers).most_common()),
        bits=dict(sorted(Counter(look.bits for look in looks if look.bits is not None and look.bits < 16).items())),
        length=_spread(texts),
        dimension=dimension,
        deep=deep,
    )


def remarks_on_bits(examples: Examples) -> tuple[str, ...]:
    """A sentence if some 16-bit images use fewer bits and are therefore brightened. Of other images, only the headers are read."""

    def one(row: int) -> int | None:
        try:
            source = encoded_image(*source_of(examples.items, row), False)
            return bits_used(source) if isinstance(source, bytes | Path) else None
        except (InputError, OSError):  # reported when the row is embedded
            return None

    if examples.modality != "image":
        return ()
    bits = Counter(n for n in in_threads(one, len(examples)) if n is not None and n < 16)
    return (remark_on_bits(dict(sorted(bits.items()))),) if bits else ()


def _look(examples: Examples, row: int, deep: bool) -> _Look:
    items, at = source_of(examples.items, row)
    if examples.modality != "image":
        return _Look(reason_of(items, at, deep, None), None, items.digest(at))
    source = encoded_image(items, at, deep)
    if isinstance(source, str):
        return _Look(source, None, None)
    if source is None and (lost := why_lost(items, at)) is not None:
        return _Look(lost, None, None)
    if source is None:
        height, width = np.asarray(items.fetch(at)).shape[:2]
        return _Look(None, Header(width, height, "array", "RGB"), items.digest(at))
    reason = reason_of(items, at, deep, source)
    digest = content_digest(source) if isinstance(source, bytes) else None
    if reason is not None:
        return _Look(reason, None, digest)
    return _Look(None, header(source), digest, bits_used(source) if isinstance(source, bytes) else None)


def _copies(
    examples: Examples, digests: list[bytes | None]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[tuple[str, str], ...], ...], tuple[tuple[str, ...], ...]]:
    """(copies within a class, copies across classes, copies across splits), each a tuple of groups in row order."""
    alike: dict[tuple[bytes, int, str], list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest is not None:  # a turned image, or the same image with another caption, is a different example
            alike[digest, turn_of(examples.items, row), examples.caption[row] if examples.caption is not None else ""].append(row)
    groups = [rows for rows in alike.values() if len(rows) > 1]
    labels = examples.labels.tolist() if examples.column.kind == "class" else [-1] * len(examples)
    names = examples.row_names
    clash = [rows for rows in groups if len({labels[r] for r in rows} - {-1}) > 1]
    same = [[r for r in rows if labels[r] == k] for rows in groups for k in dict.fromkeys(labels[r] for r in rows)]
    leak = [rows for rows in groups if len({int(examples.row_split[r]) for r in rows} - {NO_SPLIT}) > 1]
    return (
        tuple(tuple(names[r] for r in rows) for rows in same if len(rows) > 1),
        tuple(tuple((names[r], examples.class_names[labels[r]]) for r in rows if labels[r] >= 0) for rows in clash),
        tuple(tuple(names[r] for r in rows) for rows in leak),
    )


def _unlabelled(examples: Examples) -> int:
    values = examples.column.values
    absent = np.isnan(values) if examples.column.kind == "float" else values < 0
    return int((absent if absent.ndim == 1 else absent.all(axis=1)).sum())


def _spread(values: list[int]) -> Spread | None:
    return Spread(float(min(values)), float(median(values)), float(max(values))) if values else None
