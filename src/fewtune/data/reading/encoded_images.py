"""Encoded images in one `.npz`, and the small `.json` beside a `.jsonl` that names its classes.

An `.npz` of this layout holds `bytes` (encoded images, one after another), `offsets` [N + 1], `label` [N] and `class_names` [K].
Optional: `group` [N] with `group_names`, `path` [N], `sentence` [N], `class_split` [K] and `image_split` [N] (0 train, 1 validation,
2 test, anything else none).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.data.examples import NO_SPLIT, TEST, Examples, Integers, make_examples
from fewtune.data.items import Encoded
from fewtune.data.reading.order import SPLIT_WORDS
from fewtune.errors import InputError
from fewtune.files import read_regular

ENCODED_ROLES: Mapping[str, str | None] = {"input": "bytes", "label": "label", "group": "group", "split": "image_split"}

Arrays = Mapping[str, np.ndarray[Any, Any]]


def read_kit(arrays: Arrays, *, name: str) -> Examples:
    """Examples from arrays of the layout above. Raises InputError if they do not fit together."""
    content, offsets = arrays["bytes"], arrays["offsets"]
    _check(content, offsets, name)
    count = len(offsets) - 1
    label = _integers(arrays, "label", count, name)
    names = [str(c) for c in arrays["class_names"]] if "class_names" in arrays else [str(i) for i in range(int(label.max(initial=-1)) + 1)]
    paths = [str(p) for p in arrays["path"]] if "path" in arrays else [f"{name}:{i}" for i in range(count)]
    made = make_examples(
        Encoded(content, offsets.astype(np.int64), [f"{name}:{path}" for path in paths]),
        label,
        name=name,
        class_names=names,
        row_names=paths,
        groups=_groups(arrays, count, name),
        row_split=_splits(arrays.get("image_split"), count),
    )
    captions = [str(s) for s in arrays["sentence"]] if "sentence" in arrays else None
    return replace(made, class_split=_splits(arrays.get("class_split"), len(names)), caption=captions)


def _check(content: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any], name: str) -> None:
    if content.dtype != np.uint8 or content.ndim != 1:
        raise InputError(f"{name}: expected `bytes` as one row of uint8, found {content.dtype} {list(content.shape)}.")
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise InputError(f"{name}: expected `offsets` as N + 1 integers, found {offsets.dtype} {list(offsets.shape)}.")
    if offsets[0] < 0 or offsets[-1] > len(content) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise InputError(f"{name}: `offsets` must rise from 0 to at most {len(content)}, the number of bytes.")


def _integers(arrays: Arrays, key: str, count: int, name: str) -> Integers:
    values = arrays.get(key)
    if values is None:
        return np.full(count, -1, dtype=np.int64)
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise InputError(f"{name}: expected `{key}` as {count} integers, found {values.dtype} {list(values.shape)}.")
    return values.astype(np.int64)


def _groups(arrays: Arrays, count: int, name: str) -> list[str | None] | None:
    group = _integers(arrays, "group", count, name)
    if (group < 0).all():
        return None
    names = [str(g) for g in arrays.get("group_names", np.array([], dtype="U1"))]
    if names and group.max() >= len(names):
        raise InputError(f"{name}: `group` goes up to {group.max()}, but there are {len(names)} group names.")
    return [None if g < 0 else (names[g] if names else str(g)) for g in group]


def _splits(codes: np.ndarray[Any, Any] | None, count: int) -> Integers:
    if codes is None or len(codes) != count:
        return np.full(count, NO_SPLIT, dtype=np.int64)
    given = codes.astype(np.int64)
    return np.where((given >= 0) & (given <= TEST), given, NO_SPLIT)


def sidecar(path: Path) -> tuple[list[str], dict[str, int]] | None:
    """Class names in order and their splits from the `.json` file with the same name beside a table, if it holds "classes"."""
    beside = path.with_suffix(".json")
    if beside == path or not beside.is_file():
        return None
    try:
        classes = json.loads(read_regular(beside).decode("utf-8")).get("classes")
        entries = [{"name": c} if isinstance(c, str) else c for c in classes or ()]
        names = [str(c["name"]) for c in entries]
        return (names, {str(c["name"]): SPLIT_WORDS.get(str(c.get("split", "")), NO_SPLIT) for c in entries}) if names else None
    except RecursionError:
        raise InputError(f"{beside} may hold the classes of {path.name}, but its JSON is nested too deeply to be read.") from None
    except (ValueError, AttributeError, TypeError, KeyError, OSError):  # (InputError is a ValueError)
        return None  # another JSON file that has nothing to do with the table
