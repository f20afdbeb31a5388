"""From a table to Examples: which column is the input, which is the label, and what their values are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from fewtune.data.examples import LABEL, Column, Examples, Integers, class_splits, make_examples
from fewtune.data.items import Files, Items, Texts, Vectors, Wanted
from fewtune.data.pictures import is_picture, read_pictures
from fewtune.data.pixels import plain
from fewtune.data.reading.arrays import as_vectors, split_codes
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.labels import Kind, as_labels, decoded, missing
from fewtune.data.reading.order import IMAGE_SUFFIXES, some
from fewtune.data.reading.table import Table
from fewtune.data.reading.two_texts import columns_in, texts_in_columns
from fewtune.errors import InputError, unknown
from fewtune.words import option

USUAL: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "image", "img", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img_path"),
    "text": ("text", "sentence", "content", "utterance", "document", "query", "review", "tweet"),
    "embedding": ("embedding", "embeddings", "vector", "features", "feature"),
    "label": ("label", "class", "category", "target", "intent", "y", "labels", "class_name"),
    "group": ("group", "domain"),
    "split": ("split",),
    "caption": ("caption",),
}


def from_table(table: Table, asked: Asked, *, classes: tuple[Sequence[str], Mapping[str, int]] | None = None) -> Examples:
    """Examples from a table. Columns that are not given are found by their usual names.

    `label` may name several columns, "a,b": the first is the target. `split=""`: a column called "split" is not a split. `classes`: class
    names in order and their splits, from another file. If not `labelled`, the label column may be missing.
    Raises InputError with the columns of the table if one is missing or unclear.
    """
    if not table.count:
        raise InputError(f"{table.name} holds a header but no rows.")
    called = asked.name or table.name
    inputs = input_columns(table, asked.input, asked.wanted)
    targets = _label_columns(table, asked.label, inputs, asked.labelled)
    check_apart(targets, inputs)
    items, row_names = _inputs(table, inputs)
    columns = [_labels(table, target, asked.kinds.get(target, asked.kind), classes[0] if classes else ()) for target in targets]
    grouping = _one(table, "group", asked.group)
    splitting = None if asked.split == "" else _one(table, "split", asked.split)
    captions = _one(table, "caption", None)
    made = make_examples(
        items,
        columns[0] if columns else None,
        name=called,
        class_names=classes[0] if classes and columns and not isinstance(columns[0], Column) else None,
        row_names=row_names or [table.where(row) for row in range(table.count)],
        groups=[None if missing(g) else str(g) for g in table.columns[grouping]]
        if grouping and grouping not in (*targets, *inputs)
        else None,
        row_split=split_codes(table.columns[splitting], table.count, called) if splitting and splitting not in targets else None,
    )
    target = targets[0] if targets else LABEL
    return replace(
        made,
        columns={target: made.column, **{t: _column(c) for t, c in zip(targets[1:], columns[1:], strict=True)}},
        target=target,
        class_split=class_splits(made.class_names, classes[1]) if classes else made.class_split,
        caption=["" if missing(c) else str(c) for c in table.columns[captions]]
        if captions and captions not in (*targets, *inputs)
        else None,
        remarks=table.remarks,
    )


def input_columns(table: Table, given: str | tuple[str, ...] | None, wanted: Wanted | None = None) -> tuple[str, ...]:
    """The columns of the inputs: one, two of texts, or none where `given` is "". `wanted`: what a saved model reads.

    Raises InputError for a column that is missing or unclear, and for one column where the model reads two.
    """
    if given == "":
        return ()
    fields = wanted.fields if wanted is not None else ()
    asked = columns_in(given)
    if fields and not asked:
        if lost := [name for name in fields if name not in table.columns]:
            raise InputError(
                f"{table.name} has no column {lost[0]!r}: this model reads two texts, {' and '.join(fields)}; name them with "
                f"{option('--input FIRST SECOND', 'input=(FIRST, SECOND)')}."
            )
        return fields
    if len(asked) == 2:
        return tuple(_known(table, name, "input column") for name in asked)
    if fields:
        raise InputError(f"this model reads two texts, {' and '.join(fields)}: name two columns, found {asked[0]!r} alone.")
    return (input_column(table, asked[0] if asked else None),)


def _inputs(table: Table, columns: tuple[str, ...]) -> tuple[Items, list[str] | None]:
    if not columns:  # rows without an input of their own
        return Vectors(np.zeros((table.count, 0), dtype=np.float32)), None
    if len(columns) == 2:
        return texts_in_columns(table, columns), None
    if (items := table.stays(columns[0])) is not None:
        return items, None
    return _items(table, columns[0], kind_of_input(columns[0], table.columns[columns[0]]))


def check_apart(labels: Sequence[str], inputs: Sequence[str]) -> None:
    """Raise InputError for a label column that is an input too."""
    if both := [name for name in labels if name in inputs]:
        raise InputError(
            f"column {both[0]!r} is both an input and a label: a model would only copy it; name another label, or another input "
            f"({option('--input NAME')})."
        )


def is_input_known(table: Table) -> bool:
    """Whether a column of the table has a usual name for an input."""
    return any(_one(table, kind, None) is not None for kind in ("path", "text", "embedding"))


def kind_of_input(column: str, values: Any) -> str:
    """What the values are, by their type, then by the column's name: items (ready), path, text, embedding or picture (bytes, Pillow
    images, arrays).
    """
    if hasattr(values, "fetch"):
        return "items"
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return "embedding"
    first = plain(next((v for v in values if v is not None), None))
    if isinstance(first, dict | bytes) or any(is_picture(v) for v in values):
        return "picture"
    if isinstance(first, list | tuple | np.ndarray):
        return "picture" if _has_two_axes(first) and column.casefold() not in USUAL["embedding"] else "embedding"
    if isinstance(first, Path):
        return "path"
    if column.casefold() in USUAL["embedding"] and isinstance(first, str) and first.lstrip().startswith("["):
        return "embedding"
    if column.casefold() in USUAL["text"]:
        return "text"
    sample = [str(v) for v in values[:50] if v is not None]
    images = sum(Path(v[-8:]).suffix.lower() in IMAGE_SUFFIXES for v in sample)
    return "path" if images * 2 > len(sample) or (column.casefold() in USUAL["path"] and not images) else "text"


def _has_two_axes(value: Any) -> bool:
    """Whether an array or nested lists have more than one axis."""
    shape = value.shape if isinstance(value, np.ndarray) else (len(value), len(value[0])) if value and isinstance(value[0], list) else ()
    return len([length for length in shape if length > 1]) > 1


def input_column(table: Table, given: str | None) -> str:
    """The column that holds the inputs: the given one, or the one with a usual name. Raises InputError if it is missing or unclear."""
    if given is not None:
        return _known(table, given, "input column")
    by_kind = {kind: _one(table, kind, None) for kind in ("path", "text", "embedding")}
    found = [column for column in by_kind.values() if column is not None]
    if len(found) == 1:
        return found[0]
    listed = some(table.columns, 12)
    if not found:
        raise InputError(
            f"{table.name} has the columns {listed}: none has a usual name for a path, a text or an embedding; name one "
            f"with {option('--input NAME')}, or columns of numbers with {option('--numbers NAME', 'numbers=[NAME]')}."
        )
    raise InputError(
        f"{table.name} has the columns {listed}: the input could be {' or '.join(found)}; say which with {option('--input NAME')}."
    )


def _label_columns(table: Table, given: str | tuple[str, ...] | None, inputs: tuple[str, ...], labelled: bool) -> list[str]:
    if isinstance(given, tuple):
        return [_known(table, name, "label column") for name in given]
    if given is not None:
        if given in table.columns:
            return [given]
        return [_known(table, part.strip(), "label column") for part in given.split(",") if part.strip()]
    found = [c for c in _usual(table, "label") if c not in inputs]
    if len(found) == 1 or (found and found[0].casefold() == "label"):
        return found[:1]
    if not labelled:
        return []
    listed = some(table.columns, 12)
    if not found:
        raise InputError(
            f"{table.name} has the columns {listed}: none has a usual name for a label; name one with {option('--label NAME')}."
        )
    raise InputError(
        f"{table.name} has the columns {listed}: the label could be {' or '.join(found)}; say which with {option('--label NAME')}."
    )


def _usual(table: Table, role: str) -> list[str]:
    by_fold = {column.casefold(): column for column in table.columns}
    return [by_fold[word] for word in USUAL[role] if word in by_fold]


def _one(table: Table, role: str, given: str | None) -> str | None:
    """The given column, or the first one with a usual name for this role."""
    if given:
        return _known(table, given, f"{role} column")
    return next(iter(_usual(table, role)), None)


def _known(table: Table, column: str, what: str) -> str:
    if column not in table.columns:
        raise InputError(f"{table.name}: {unknown(what, column, table.columns)} Its columns are {some(table.columns, 12)}.")
    return column


def _labels(table: Table, column: str, kind: Kind, names: Sequence[str] = ()) -> list[str | int | None] | Integers | Column:
    values = table.columns[column]
    if names and "-1" not in names:  # if class names are given from another file, -1 means missing
        values = [None if _is_minus_one(value) else value for value in values]
    labels = as_labels(values, f"{table.name}, column {column}", None, kind)
    if not isinstance(labels, Column) and all(label is None for label in labels):
        raise InputError(f"{table.name}: column {column!r} holds no labels: expected a class name in each row.")
    return labels


def _is_minus_one(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value == -1


def _column(labels: list[str | int | None] | Integers | Column) -> Column:
    return labels if isinstance(labels, Column) else make_examples(Texts([""] * len(labels)), labels).column


def _items(table: Table, column: str, kind: str) -> tuple[Items, list[str] | None]:
    values = table.columns[column]
    if kind == "items":
        return cast(Items, values), None
    if kind == "embedding":
        return Vectors(as_vectors(_matrix(table, column), f"{table.name}, column {column}")), None
    if all(missing(value) for value in values):
        raise InputError(f"{table.name}: column {column!r} is empty in all {table.count} rows: name another with {option('--input NAME')}.")
    if kind == "text":  # an empty text is refused or left out later
        return Texts(["" if missing(value) else _as_text(value, table, row) for row, value in enumerate(values)]), None
    if kind == "picture":
        return read_pictures(values, [table.where(row) for row in range(table.count)], table.name, table.folder)[0], None
    paths = [None if missing(value) else table.folder / _as_text(value, table, row) for row, value in enumerate(values)]
    if not any(os.path.isfile(path) for path in paths if path is not None):  # noqa: PTH113  (Path.is_file raises for odd names)
        listed = some((f"{values[row]} ({table.where(row)})" for row, path in enumerate(paths) if path is not None), 3)
        raise InputError(f"{table.name}: none of the files in column {column!r} is in {table.folder}: {listed}.")
    return Files(paths), [table.where(row) if paths[row] is None else str(value) for row, value in enumerate(values)]


def _as_text(value: Any, table: Table, row: int) -> str:
    return decoded(value, table.where(row)) if isinstance(value, bytes) else str(value)


def _matrix(table: Table, column: str) -> np.ndarray[Any, Any]:
    values = table.columns[column]
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    rows = []
    width = 0
    for row, value in enumerate(values):
        if missing(value):
            raise InputError(f"{table.name}: the embedding of {table.where(row)} is missing: fill it, or remove the row.")
        try:
            with np.errstate(over="ignore"):  # a number that is too large for float32 becomes infinite and is refused later
                vector = np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=np.float32).ravel()
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise InputError(f"{table.name}: the embedding of {table.where(row)} is not a list of numbers: {str(value)[:40]!r}.") from None
        width = width or len(vector)
        if len(vector) != width:
            raise InputError(
                f"{table.name}: the embedding of {table.where(row)} has {len(vector)} numbers: expected {width} as in the first row."
            )
        rows.append(vector)
    return np.stack(rows)
