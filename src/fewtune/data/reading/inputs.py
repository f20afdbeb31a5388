"""Inputs for a saved model to label: files, folders, tables and texts, in the order given, without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.data.examples import Examples, Integers, Skipped, make_examples
from fewtune.data.excel import OTHER_SHEETS
from fewtune.data.items import Files, Item, Items, Modality, Pixels, Texts, Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.columns import from_table, input_columns
from fewtune.data.reading.folders import read_text
from fewtune.data.reading.order import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, TEXT_SUFFIXES
from fewtune.data.reading.read import TABLE_SUFFIXES, has_columns, read_asked
from fewtune.data.reading.remote import located
from fewtune.data.reading.shards import shards_in
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.reading.table_files import read_table
from fewtune.data.reading.two_texts import typed
from fewtune.data.reading.walk import walk
from fewtune.data.subset import on_disk, source_of
from fewtune.errors import InputError
from fewtune.words import counted, option


@final
@dataclass(frozen=True, eq=False)
class Chained:
    """Several collections of items, one after another."""

    parts: Sequence[Items]
    starts: Integers
    modality: Modality

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def on_disk(self) -> bool:
        return any(on_disk(part) for part in self.parts)

    def locate(self, row: int) -> tuple[Items, int]:
        """The items that hold a row, and its number there."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    def fetch(self, row: int, size_hint: int | None = None) -> Item:
        items, local = self.locate(row)
        return items.fetch(local, size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        items, local = self.locate(row)
        return items.digest(local)


@final
@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table among the inputs, its file, and the number `start` of its first row among all rows."""

    start: int
    path: Path
    table: Table


@final
@dataclass(frozen=True, eq=False)
class Given:
    """What is to be labelled. `examples`: its rows. `tables`: the tables among the inputs, in order."""

    examples: Examples
    tables: tuple[GivenTable, ...] = ()

    @property
    def is_one_table(self) -> bool:
        """Whether all rows are those of one table."""
        return len(self.tables) == 1 and self.tables[0].table.count == len(self.examples)

    def columns(self) -> tuple[dict[str, list[Any]], list[str]]:
        """The tables' own columns, by name, with a value for every row (None where a row has no such column), and a sentence on each
        column that cannot be read."""
        found: dict[str, list[Any]] = {}
        remarks = []
        for one in self.tables:
            for name in one.table.columns:
                try:
                    read = list(one.table.columns[name])
                except InputError as problem:
                    remarks.append(f"A column is not copied: {problem}")
                    continue
                values = found.setdefault(name, [None] * len(self.examples))
                values[one.start : one.start + one.table.count] = read
        return found, remarks


@final
@dataclass(frozen=True, eq=False)
class _Part:
    """The rows of one input."""

    items: Items
    names: Sequence[str]
    skipped: Sequence[Skipped] = ()
    remarks: Sequence[str] = ()
    table: Table | None = None


def read_inputs(
    paths: Sequence[Path], texts: Sequence[str], wanted: Wanted | Modality, column: str | tuple[str, ...] | None = None
) -> Examples:
    """The rows to label, as `read_given` reads them; a text file that cannot be read is refused too."""
    return read_given(paths, texts, wanted, column, strict=True).examples


def read_given(
    paths: Sequence[Path],
    texts: Sequence[str],
    wanted: Wanted | Modality,
    column: str | tuple[str, ...] | None = None,
    *,
    strict: bool = False,
) -> Given:
    """The rows to label, in the order given.

    `row_names` are paths as given, "table.csv:3" (by the line of the file, or by the number from 0 in a file without lines: the same
    numbers as in messages), or the texts themselves. A folder stands for every image (or .txt file, for texts) below it, in natural order.
    Links to folders are followed, and each folder is read once, as in `read_folder`. `wanted`: what the model labels. `column`: the input
    column of tables. Raises InputError for a path that does not exist, holds nothing to label, or holds another modality, and with
    `strict` for a text file that cannot be read, which is a row with a problem otherwise.
    """
    wanted = wanted if isinstance(wanted, Wanted) else Wanted(wanted)
    modality = wanted.modality
    parts = [_one(path, wanted, column, strict) for path in paths]
    if (paths or texts) and column and not any(map(has_columns, paths)):
        named = column if isinstance(column, str) else " ".join(column)
        flag = option(f"--input {named}", f"input={column!r}")
        raise InputError(f"{paths[0] if paths else 'a typed text'} has no columns, so {flag} names nothing: leave it out.")
    if texts:
        if modality != "text":
            raise InputError(f"this model labels {modality}s, but a text was given: give {modality} files instead.")
        parts.append(_Part(_typed(texts, wanted.fields), list(texts)))
    if not parts:
        raise InputError(
            f"expected something to label: {'files, folders, tables or texts' if modality == 'text' else 'files, folders or tables'}."
        )
    starts = np.cumsum([0, *(len(part.items) for part in parts)])
    names = [name for part in parts for name in part.names]
    whole = make_examples(Chained([part.items for part in parts], starts, modality), row_names=names, name="inputs")
    whole = replace(
        whole,
        skipped=tuple(skipped for part in parts for skipped in part.skipped),
        remarks=tuple(remark for part in parts for remark in part.remarks),
    )
    found = zip(starts.tolist(), paths, parts, strict=False)  # texts come last and are no table
    return Given(whole, tuple(GivenTable(start, path, part.table) for start, path, part in found if part.table is not None))


def taught_size(examples: Examples) -> tuple[int, ...] | None:
    """Height and width, if the rows were given as one array of grey pictures [N, H, W]; else None (see `Wanted`)."""
    items = source_of(examples.items, 0)[0] if len(examples) else examples.items
    return items.pixels.shape[1:] if isinstance(items, Pixels) and items.pixels.ndim == 3 else None


def _typed(texts: Sequence[str], fields: tuple[str, ...]) -> Texts:
    """Texts that somebody typed; for a model that reads two, `FIRST ||| SECOND`."""
    return Texts([typed(text, fields) for text in texts], fields=fields) if fields else Texts(list(texts))


def _one(path: Path, wanted: Wanted, column: str | tuple[str, ...] | None, strict: bool) -> _Part:
    modality, path = wanted.modality, located(path)
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir and exists raise for too long a name)
        if shards_in(path):
            made = _of_kind(path, wanted, read_asked(path, Asked(input=column, labelled=False, wanted=wanted)))
            return _Part(made.items, list(made.row_names), made.skipped, made.remarks)
        return _folder(path, wanted, strict)
    suffix = path.suffix.lower()
    if os.path.exists(path) and suffix in TABLE_SUFFIXES:  # noqa: PTH110
        return _table(path, wanted, column)
    if not os.path.exists(path) or suffix in OTHER_SHEETS | ARCHIVE_SUFFIXES or suffix == ".npz":  # noqa: PTH110
        named = column if has_columns(path) else None
        made = _of_kind(path, wanted, read_asked(path, Asked(input=named, labelled=False, wanted=wanted)))
        return _Part(made.items, [f"{path}:{row}" for row in range(len(made))], made.skipped, made.remarks)
    if modality == "image":
        return _Part(Files([path]), [str(path)])
    if modality == "text" and suffix in TEXT_SUFFIXES:
        return _Part(_texts([path], strict, wanted.fields), [str(path)])
    expected = "a .txt file, or a table with a text column" if modality == "text" else "an .npz file or a table with an embedding column"
    raise InputError(f"{path}: this model labels {modality}s; expected {expected}.")


def _table(path: Path, wanted: Wanted, column: str | tuple[str, ...] | None) -> _Part:
    """A table: its input columns are read, and nothing else of it is looked at."""
    table = read_table(path)
    chosen = input_columns(table, column, wanted)
    alone = replace(table, columns=Lazy(chosen, table.columns.__getitem__))
    made = _of_kind(path, wanted, from_table(alone, Asked(input=chosen, labelled=False, wanted=wanted)))
    folder = str(path)[: len(str(path)) - len(path.name)]
    return _Part(made.items, [folder + table.where(row) for row in range(table.count)], remarks=made.remarks, table=table)


def _of_kind(path: Path, wanted: Wanted, made: Examples) -> Examples:
    if made.modality != wanted.modality:
        raise InputError(f"{path} holds {made.modality}s, but this model labels {wanted.modality}s.")
    return made


def _folder(path: Path, wanted: Wanted, strict: bool) -> _Part:
    modality = wanted.modality
    suffixes = {"image": IMAGE_SUFFIXES, "text": TEXT_SUFFIXES}.get(modality)
    if suffixes is None:
        raise InputError(f"{path} is a folder, but this model labels embeddings: give .npz files or tables with an embedding column.")
    passed: list[Skipped] = []
    files = list(walk(path, passed))
    skipped = [Skipped(str(path / s.name), s.reason) for s in passed]
    chosen = [f for f in files if f.suffix.lower() in suffixes]
    skipped += [
        Skipped(str(f), f"not {'an image' if modality == 'image' else 'a .txt file'}") for f in files if f.suffix.lower() not in suffixes
    ]
    if not chosen:
        found = counted(len(files), "other file") if files else f"no files ({passed[0].reason})" if passed else "no files"
        raise InputError(f"{path} holds {found}, and nothing that can be read here: expected {modality}s.")
    items: Items = Files(chosen) if modality == "image" else _texts(chosen, strict, wanted.fields)
    return _Part(items, [str(f) for f in chosen], skipped)


def _texts(files: Sequence[Path], strict: bool, fields: tuple[str, ...] = ()) -> Texts:
    """The texts of files; unless `strict`, one that cannot be read is a row with a problem."""
    texts, problems = [], dict[int, str]()
    for row, file in enumerate(files):
        try:
            texts.append(typed(read_text(file), fields) if fields else read_text(file))
        except InputError as problem:
            if strict:
                raise
            problems[row] = str(problem).removeprefix(f"{file} ").rstrip(".")
            texts.append("")
    return Texts(texts, problems=problems, fields=fields)
