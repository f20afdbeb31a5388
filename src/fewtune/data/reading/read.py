"""`read_examples`: one call for every kind of source, recognised by type and suffix."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewtune.data.examples import Examples
from fewtune.data.excel import EXCEL_SUFFIXES, OTHER_SHEETS
from fewtune.data.reading.arrays import read_arrays, read_npz
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.columns import from_table
from fewtune.data.reading.encoded_images import ENCODED_ROLES, read_kit, sidecar
from fewtune.data.reading.folders import LAYOUT, read_folder
from fewtune.data.reading.labels import Kind
from fewtune.data.reading.npz import load_npz
from fewtune.data.reading.order import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES
from fewtune.data.reading.remote import located
from fewtune.data.reading.scenes import is_scenes, scenes_named
from fewtune.data.reading.shards import TAR, read_shards, shards_in
from fewtune.data.reading.table_files import read_table
from fewtune.data.reading.tar import check_labels
from fewtune.errors import InputError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq"}) | EXCEL_SUFFIXES


def read_examples(
    source: Any,
    *,
    label: str | None = None,
    input: str | Sequence[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    name: str | None = None,
    kind: Kind = "class",
) -> Examples:
    """Examples from a folder, a file, arrays, or a data frame. Rows are not decoded before they are used.

    `source`: a folder of class folders (or of train, val, test with class folders inside), or of shards (Parquet files, tar archives); a
    CSV, TSV, JSONL, JSON, Parquet or Excel file; a tar archive (see `reading.tar`); an `.npz` (arrays x and y, or encoded images); a pair
    (x, y) or a mapping with x and y (arrays, tensors, lists of pictures or strings, see `read_arrays`); a pandas DataFrame; a Hugging Face
    Dataset or DatasetDict; a map-style torch Dataset of (input, label); the name of drawn scenes such as "scenes:colour,rows=200" (see
    `fewtune.data.reading.scenes.SceneSet`); or Examples, which are returned. A path may be an address, s3://... (see `reading.remote`).
    `label`, `input`, `group`, `split`: columns of a table, by default found by their usual names (`label` of a folder: see `read_folder`).
    `input` may be two columns of texts, such as ("premise", "hypothesis"); in Python, inputs may be pairs of texts too.
    `kind`: the kind of labels: "class", "float", or "multi" (names joined by "|", lists, or multi-hot rows).
    `name`: the name of the collection, by default the stem of its file or folder.
    Raises InputError for data that cannot be used, also if there are fewer than two classes.
    """
    return read_asked(source, Asked(label=label, input=_columns(input), group=group, split=split, kind=kind, name=name))


def _columns(given: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return given if given is None or isinstance(given, str) else tuple(given)


def read_asked(source: Any, asked: Asked) -> Examples:
    """What `read_examples` does, with options that only other rooms need, such as inputs without labels."""
    if asked.kind not in ("class", "float", "multi"):
        raise InputError(f"unknown kind of labels {asked.kind!r}: expected class, float or multi.")
    if isinstance(source, Examples):
        asked.check_names(source.name, {})
        return source if asked.name is None else replace(source, name=asked.name)
    if is_scenes(source):
        return scenes_named(source).examples(asked)
    path = located(source) if isinstance(source, str | Path) else None
    made = _from_object(source, asked) if path is None else _from_path(path, asked)
    return _checked(made) if asked.labelled and asked.kind == "class" else made


def _from_path(path: Path, asked: Asked) -> Examples:
    if not os.path.exists(path):  # noqa: PTH110  (Path.exists raises for too long a name)
        raise InputError(absent(path))
    shards = shards_in(path) if path.is_dir() else [path] if path.suffix.lower() in TAR else []
    if shards:
        table, skipped = read_shards(shards, None if path in shards else path.resolve().name)
        if asked.labelled and asked.label is None and shards[0].suffix.lower() in TAR:
            check_labels(path, table)
        return replace(from_table(table, asked), skipped=skipped)
    if path.is_dir():
        asked.check_names(str(path), {}, ("input", "group", "split"))
        return read_folder(path, label=asked.folder_label, name=asked.name, recursive=asked.recursive)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays, named = load_npz(path), replace(asked, name=asked.name or path.stem)
        if not {"bytes", "offsets"} <= arrays.keys():
            return read_npz(arrays, named)
        named.check_names(named.called, ENCODED_ROLES)
        return read_kit(arrays, name=named.called)
    if suffix in TABLE_SUFFIXES:
        return from_table(read_table(path), asked, classes=sidecar(path))
    if suffix in OTHER_SHEETS:
        raise InputError(f"{path}: sheets of the kind {suffix} are not read: save it as .xlsx or as CSV.")
    if suffix in ARCHIVE_SUFFIXES:
        raise InputError(f"{path} is an archive: unpack it first and give the folder.")
    if suffix in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single image: {LAYOUT}.")
    raise InputError(
        f"{path} is not a known kind of file: expected a folder of class folders, .csv, .tsv, .jsonl, .json, .parquet, .xlsx, .tar or .npz."
    )


def has_columns(source: Path) -> bool:
    """Whether what is there is a table, or shards of one."""
    path = located(source)
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for too long a name)
        return bool(shards_in(path))
    return path.suffix.lower() in TABLE_SUFFIXES | TAR


def absent(path: Path) -> str:
    """The sentence for a path that does not exist, with the nearest names beside it."""
    if str(path) == "scenes":
        return "scenes does not exist: for drawn scenes, write scenes:counting, scenes:colour, ..."
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    return f"{path} does not exist" + (f": did you mean {' or '.join(str(folder / n) for n in near)}?" if near else ".")


def _from_object(source: Any, asked: Asked) -> Examples:
    from fewtune.data.reading import frames
    from fewtune.data.reading.torch_dataset import is_torch_dataset, read_torch_dataset

    if frames.is_dataset(source) or frames.is_dataset_dict(source):
        return frames.read_dataset(source, asked, name=asked.called)
    if is_torch_dataset(source):
        return read_torch_dataset(source, asked, name=asked.called)
    if frames.is_data_frame(source):
        return from_table(frames.table_of(source, asked.called), asked)
    if isinstance(source, Mapping) and ("x" in source or "X" in source):
        lowered = {str(key).lower(): value for key, value in source.items()}
        given = {key: lowered[key] for key in ("names", "groups", "split") if key in lowered}
        asked.check_names(asked.called, {"input": "x", "label": "y", "group": "groups", "split": "split"})
        return read_arrays(lowered["x"], lowered.get("y"), asked, **given)
    if isinstance(source, tuple | list) and len(source) == 2 and not all(isinstance(part, str | Path) for part in source):
        asked.check_names(asked.called, {})
        return read_arrays(source[0], source[1], asked)
    raise InputError(
        f"a {type(source).__name__} cannot be read as examples: expected a folder, a file, a pair (x, y), a mapping with x and y, "
        "a DataFrame or a Dataset."
    )


def _checked(made: Examples) -> Examples:
    """Raise InputError for data that no classifier can learn from."""
    if made.column.kind == "class" and len(made.class_names) < 2:
        found = f"one, {made.class_names[0]!r}" if made.class_names else "no labels"
        raise InputError(f"{made.name}: expected at least two classes, found {found}.")
    return made
