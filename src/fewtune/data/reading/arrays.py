"""Arrays `x` and `y`, given directly or in an `.npz`, and lists of paths or strings with labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fewtune.data.examples import NO_SPLIT, Examples, Integers, make_examples
from fewtune.data.items import Files, Items, Pixels, Texts, Vectors, Wanted, not_finite
from fewtune.data.pictures import is_encoded, is_picture, read_pictures
from fewtune.data.pixels import as_pixels, fits, one_or_many, plain
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.labels import as_labels, decoded, missing
from fewtune.data.reading.order import IMAGE_SUFFIXES, SPLIT_WORDS, some
from fewtune.data.reading.two_texts import pairs_given
from fewtune.errors import InputError

_PLAIN = Asked()
_ROLES = {
    "input": ("x", "data", "images", "features", "embeddings", "texts"),
    "label": ("y", "label", "labels"),
    "group": ("groups", "group"),
    "split": ("split", "splits"),
}


def read_arrays(
    x: Any,
    y: Any = None,
    asked: Asked = _PLAIN,
    *,
    names: Sequence[str] | None = None,
    groups: Any = None,
    split: Any = None,
) -> Examples:
    """Examples from inputs and labels that are given from Python.

    `x`: pictures as one array [N, H, W], [N, H, W, C] or [N, C, H, W] (see `pixels.as_pixels` for the allowed numbers); a list of pictures
    of any kinds and sizes (paths, encoded bytes, Pillow images, arrays; see `pictures`); vectors [N, D]; a list of strings. Torch tensors
    are treated like arrays. `y`: class integers or names, float targets ([N] or [N, d]) or multi-hot [N, L], as `asked.kind` says; None and
    NaN mean missing. Without labels, `x` may be one picture for a model of images (`asked.wanted`). `names`: the
    class names; integer labels are then indices into them, and -1 means missing. Raises InputError for anything else.
    """
    name, wanted = asked.called, asked.wanted
    labels = None if y is None else plain(y)
    if labels is not None:  # then the number of rows is known
        wanted = Wanted("image") if _is_one_picture(x, labels) else None
    items, row_names = as_items(x, name, wanted)
    count = len(items)
    if labels is not None and (np.shape(labels) == () if isinstance(labels, np.ndarray) else not hasattr(labels, "__len__")):
        raise InputError(f"{name}: expected one label for each row, found {count} rows and one label.")
    if labels is not None and len(labels) != count:
        raise InputError(f"{name}: expected one label for each row, found {count} rows and {len(labels)} labels.")
    return make_examples(
        items,
        None if labels is None else as_labels(labels, name, names, asked.kind),
        name=name,
        class_names=names,
        row_names=row_names,
        groups=None if groups is None else _groups(groups, count, name),
        row_split=None if split is None else split_codes(split, count, name),
    )


def _is_one_picture(x: Any, labels: Any) -> bool:
    """Whether the input is one picture of three axes with one label."""
    x = plain(x)
    return isinstance(x, np.ndarray) and x.ndim == 3 and len(x) > 1 and np.shape(labels) == (1,)


def read_npz(arrays: Mapping[str, np.ndarray[Any, Any]], asked: Asked) -> Examples:
    """Examples from an `.npz` with `x` and `y`, and optionally `names` (or `class_names`), `groups` (or `group`) and `split`."""
    name, lowered = asked.called, {key.lower(): key for key in arrays}

    def called(*keys: str) -> str | None:
        return next((lowered[key] for key in keys if key in lowered), None)

    roles = {role: called(*keys) for role, keys in _ROLES.items()}
    if roles["input"] is None:
        raise InputError(f"{name} holds the arrays {some(arrays, 8)}: expected x and y (images, vectors or strings, and their labels).")
    asked.check_names(name, roles)
    x, y, groups, split = (None if (role := roles[one]) is None else arrays[role] for one in _ROLES)
    names = None if (role := called("names", "class_names")) is None else arrays[role]
    return read_arrays(
        x,
        y,
        asked,
        names=None if names is None else [decoded(n, f"{name}: a class name") if isinstance(n, bytes) else str(n) for n in names.ravel()],
        groups=groups,
        split=split,
    )


def as_items(x: Any, name: str, wanted: Wanted | None = None) -> tuple[Items, list[str] | None]:
    """Items, and row names if the inputs have some (paths). `wanted`: what the model reads, for inputs without labels."""
    x = plain(x)
    if (pairs := pairs_given(x)) is not None:
        return pairs, None
    for_images = wanted is not None and wanted.modality == "image"
    if isinstance(x, Image.Image | bytes | bytearray | memoryview) or (for_images and isinstance(x, Path)):
        x = [x]
    if isinstance(x, np.ndarray):
        if x.dtype.kind in "OSU":
            return _mixed(x, name, wanted)
        if wanted is not None and for_images and (x.ndim > 2 or fits(x)):  # if not, they are vectors
            x = one_or_many(x, wanted.taught)
        return _numbers(x, name)
    if isinstance(x, str | Path | dict) or not hasattr(x, "__len__"):
        raise InputError(f"{name}: expected an array, or a list of paths, strings or pictures, found {type(x).__name__}.")
    values = [plain(value) for value in x]
    nested = bool(values) and all(isinstance(value, list | tuple) for value in values)
    array = _array(values) if nested else np.asarray(None)
    return as_items(array, name, wanted) if array.ndim else _listed(values, name, wanted)  # nested lists of numbers become one array


def _mixed(x: np.ndarray[Any, Any], name: str, wanted: Wanted | None) -> tuple[Items, list[str] | None]:
    """Items from an array of Python objects, strings or bytes: one value a row, or strings of any shape."""
    values = x.ravel().tolist()
    strings = any(isinstance(value, str | Path | bytes) for value in values) and not any(isinstance(v, np.ndarray) for v in values)
    if x.ndim and (x.size == len(x) or strings):
        return _listed([plain(value) for value in values], name, wanted)
    raise InputError(f"{name}: expected images [N, H, W(, C)], vectors [N, D] or strings [N], found {x.dtype} {list(x.shape)}.")


def _listed(values: list[Any], name: str, wanted: Wanted | None) -> tuple[Items, list[str] | None]:
    """Items from a list with one value a row: strings, pictures of any kinds and sizes, or arrays."""
    if values and all(missing(value) for value in values):
        raise InputError(f"{name}: all {len(values)} rows are missing (None or NaN): expected texts, paths, images or vectors.")
    encoded = [isinstance(value, bytes | bytearray | memoryview) for value in values]
    if values and all(encoded) and not any(map(is_encoded, values)) and (wanted is None or wanted.modality != "image"):
        return Texts([decoded(bytes(value), f"{name}: row {row}") for row, value in enumerate(values)]), None
    named = any(isinstance(value, str | Path) for value in values)
    if any(encoded) or any(is_picture(value) or (named and isinstance(value, np.ndarray) and value.ndim > 1) for value in values):
        return read_pictures(values, None, name)
    if named:
        return _strings(values, name, wanted)
    arrays = [_array(value) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 and {len(shape) for shape in shapes} <= {2, 3}:
        return read_pictures(arrays, None, name)
    if len(shapes) > 1:
        raise InputError(f"{name}: the rows of x differ in shape: expected vectors of one width, images, paths or strings.")
    return _numbers(np.stack(arrays) if arrays else np.empty((0,)), name)


def _array(value: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # nested lists of several lengths
        return np.asarray(None)


def _numbers(x: np.ndarray[Any, Any], name: str) -> tuple[Items, None]:
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4):
        raise InputError(f"{name}: expected images [N, H, W(, C)], vectors [N, D] or strings [N], found {x.dtype} {list(x.shape)}.")
    return (Vectors(as_vectors(x, name)) if x.ndim == 2 else Pixels(as_pixels(x, name))), None


def _strings(values: list[Any], name: str, wanted: Wanted | None) -> tuple[Items, list[str] | None]:
    """Paths, if they are Path objects, all have a suffix of images, or are given to a model of images; else texts.

    Missing values are kept, to be refused or left out later.
    """
    for_images = wanted is not None and wanted.modality == "image"
    there = [v for v in values if not missing(v)]
    if strange := next(((row, v) for row, v in enumerate(values) if not missing(v) and not isinstance(v, str | Path)), None):
        raise InputError(f"{name}: row {strange[0]} is a {type(strange[1]).__name__}: expected a text, or a path, in each row.")
    are_paths = bool(there) and all(isinstance(v, Path) or Path(v[-8:]).suffix.lower() in IMAGE_SUFFIXES for v in there)
    if not (for_images or are_paths):
        return Texts(["" if missing(v) else str(v) for v in values]), None
    paths = [None if missing(v) else Path(v) for v in values]
    if not any(os.path.isfile(path) for path in paths if path is not None):  # noqa: PTH113  (Path.is_file raises for odd names)
        raise InputError(f"{name}: none of {len(there)} files exists: {some(map(str, there), 3)}.")
    return Files(paths), [f"{name}:{row}" if path is None else str(path) for row, path in enumerate(paths)]


def as_vectors(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [N, D]. Raises InputError for NaN and infinity, with the first such row and the number of them."""
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{name}: expected vectors [N, D], found {list(x.shape)}.")
    with np.errstate(over="ignore"):
        vectors = x.astype(np.float32, copy=False)
    bad = not_finite(vectors)
    if len(bad):
        more = f" and {len(bad) - 1} more rows hold" if len(bad) > 1 else " holds"
        raise InputError(f"{name}: row {bad[0]}{more} NaN or infinite values: remove or correct them before adapting.")
    return vectors


def _groups(groups: Any, count: int, name: str) -> list[str | None]:
    groups = _row_each(groups, count, name, "group")
    return [None if missing(g) or (_is_integer(g) and g == -1) else str(g) for g in groups]


def _row_each(values: Any, count: int, name: str, what: str) -> Any:
    """Values, one for each row. Raises InputError if their number is different."""
    values = plain(values)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InputError(f"{name}: expected one {what} for each row, found {what}s of shape {list(values.shape)}.")
    if not hasattr(values, "__len__") or len(values) != count:
        found = f"{len(values)} {what}s" if hasattr(values, "__len__") else f"a {type(values).__name__}"
        raise InputError(f"{name}: expected one {what} for each row, found {count} rows and {found}.")
    return values


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def split_codes(split: Any, count: int, name: str) -> Integers:
    """0 train, 1 validation, 2 test, -1 none; from these codes or from words (train, val, dev, test, ...)."""
    split = _row_each(split, count, name, "split")
    codes = np.full(count, NO_SPLIT, dtype=np.int64)
    for i, value in enumerate(split):
        if _is_integer(value):
            codes[i] = value if value in (0, 1, 2) else NO_SPLIT
        elif not missing(value):
            word = str(value).strip().casefold()
            if word not in SPLIT_WORDS:
                raise InputError(f"{name}: split {str(value)!r} of row {i} is unknown: expected train, validation or test.")
            codes[i] = SPLIT_WORDS[word]
    return codes
