"""A table with several label columns, and numbers beside its photos or texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.data.examples import Examples
from fewtune.data.items import Vectors
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.columns import check_apart, from_table, is_input_known
from fewtune.data.reading.frames import is_data_frame, table_of
from fewtune.data.reading.kinds import check_kinds, kind_of_column, number_of, read_numbers
from fewtune.data.reading.labels import Kind, missing
from fewtune.data.reading.read import TABLE_SUFFIXES, absent
from fewtune.data.reading.remote import located
from fewtune.data.reading.scenes import is_scenes, scenes_named
from fewtune.data.reading.table import Table
from fewtune.data.reading.table_files import read_table
from fewtune.data.reading.two_texts import columns_in
from fewtune.errors import InputError, unknown
from fewtune.words import option

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which columns of a table are what.

    `labels`: the label columns, in order. `kinds`: class, float or multi by column, where it is not found out. `numbers`: columns of
    numbers as inputs, beside the photos or texts or alone. `input`: the column of photos, texts or embeddings, or two of texts; by default
    one with a usual name, or none where there are numbers. `split`: the column that says train, validation or test, by default one called
    split.
    """

    labels: tuple[str, ...]
    kinds: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    input: str | tuple[str, ...] | None = None
    split: str | None = None


@final
@dataclass(frozen=True, eq=False)
class LabelTable:
    """`examples`: rows with several label columns (items of width 0 where numbers are the only input). `numbers` [N, M]: NaN missing,
    named by `names`. `input`: the column of photos, texts or embeddings, where it was named."""

    examples: Examples
    numbers: Floats
    names: tuple[str, ...]
    input: str | None = None

    def refuse_backbone(self, given: bool) -> None:
        """Raise InputError where a backbone is `given`, or how it reads, and numbers are the only input."""
        if self.bare and given:
            raise InputError(
                f"{self.examples.name}: numbers are all that is read, so there is no backbone: name the column of texts or photos with "
                f"{option('--input NAME')}, or leave out what is said about a backbone."
            )

    @property
    def bare(self) -> bool:
        """Whether numbers are the only input."""
        items = self.examples.items
        return isinstance(items, Vectors) and not items.vectors.shape[1]


def table_from(source: Any, name: str = "data") -> Table:
    """The table of a file, a data frame or drawn scenes. Raises InputError for anything else."""
    if is_data_frame(source):
        return table_of(source, name)
    if is_scenes(source):
        return scenes_named(source).table()
    path = located(source) if isinstance(source, str | Path) else None
    if path is None:
        raise InputError(f"several label columns are read from a table, a file or a data frame, found a {type(source).__name__}.")
    if not path.exists():
        raise InputError(absent(path))
    if path.suffix.lower() not in TABLE_SUFFIXES or path.is_dir():
        raise InputError(f"{path} is no table: several label columns, and numbers, are read from .csv, .jsonl, .parquet or .xlsx.")
    return read_table(path)


def single_kind(source: Path, label: str) -> Kind:
    """The kind of the only label column of a table: "float" where its values are numbers and some are not whole, "multi" where some are
    lists or names joined by "|", else "class"; "class" also for what is no table or has no such column, which is refused elsewhere."""
    path = located(source)
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return "class"
    columns = read_table(path).columns
    known = [value for value in columns[label] if not missing(value)] if label in columns else []
    if any(isinstance(value, list | tuple) or (isinstance(value, str) and "|" in value) for value in known):
        return "multi"
    numbers = [number_of(value) for value in known]
    return "float" if numbers and all(n is not None for n in numbers) and any(n is not None and n % 1 for n in numbers) else "class"


def read_label_table(source: Any, wanted: Wanted, *, empty: bool = False) -> LabelTable:
    """The rows of a table with its label columns, each of the kind that is given or found out. `empty`: a column of numbers may hold none.

    Raises InputError for columns that are missing, named twice, both input and label, or hold what cannot be learned.
    """
    table = table_from(source)
    check_columns(table, wanted)
    given = check_kinds(wanted.kinds, wanted.labels)
    kinds = {name: given.get(name) or kind_of_column(table.columns[name], f"{table.name}: column {name!r}") for name in wanted.labels}
    named = wanted.input if isinstance(wanted.input, str) else None  # two columns are those that the backbone reads
    bare = wanted.input is None and bool(wanted.numbers) and not is_input_known(table)
    asked = Asked(label=wanted.labels, input="" if bare else wanted.input, split=wanted.split, kinds=kinds)
    return LabelTable(from_table(table, asked), read_numbers(table, wanted.numbers, empty=empty), wanted.numbers, named)


def check_columns(table: Table, wanted: Wanted) -> None:
    """Raise InputError for label columns that a table does not have, or that are named twice or an input too."""
    if not wanted.labels:
        raise InputError(f"expected at least one label column: name it with {option('--label NAME')}.")
    for name in wanted.labels:
        if name not in table.columns:
            raise unknown(f"label column of {table.name}", name, table.columns)
        if wanted.labels.count(name) > 1:
            raise InputError(f"label column {name!r} is named twice: name each column once.")
    check_apart(wanted.labels, (*columns_in(wanted.input), *wanted.numbers))
