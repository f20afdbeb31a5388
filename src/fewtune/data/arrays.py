"""Arrays: `x` with `y`, given directly or in an `.npz`, and lists of paths or strings with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.data.examples import NO_SPLIT, Examples, Integers, make_examples
from fewtune.data.items import Files, Items, Pixels, Texts, Vectors
from fewtune.data.order import IMAGE_SUFFIXES, SPLIT_WORDS, some
from fewtune.data.targets import Kind, as_labels, decoded, missing
from fewtune.errors import InputError


def read_arrays(
    x: Any,
    y: Any = None,
    *,
    name: str = "data",
    names: Sequence[str] | None = None,
    groups: Any = None,
    split: Any = None,
    kind: Kind = "class",
) -> Examples:
    """Examples from inputs and labels at hand.

    `x`: uint8 images [N, H, W], [N, H, W, C] or channel-first [N, C, H, W] (C = 1 or 3; read as channel-last where both fit); float
    images within [0, 1], which are rounded to 8 bits; vectors [N, D]; a sequence of strings or of paths. Torch tensors are taken too.
    `y`: class integers or names, float targets ([N] or [N, d]) or multi-hot [N, L], as `kind` says; None and NaN are missing.
    `names`: the class names that integer labels index; -1 then means a missing label. Raises InputError in one sentence for the rest.
    """
    items, row_names = as_items(x, name)
    count = len(items)
    labels = None if y is None else plain(y)
    if labels is not None and (np.shape(labels) == () if isinstance(labels, np.ndarray) else not hasattr(labels, "__len__")):
        raise InputError(f"{name}: expected one label a row, found {count} rows and a single label.")
    if labels is not None and len(labels) != count:
        raise InputError(f"{name}: expected one label a row, found {count} rows and {len(labels)} labels.")
    return make_examples(
        items,
        None if labels is None else as_labels(labels, name, names, kind),
        name=name,
        class_names=names,
        row_names=row_names,
        groups=None if groups is None else _groups(groups, count, name),
        row_split=None if split is None else split_codes(split, count, name),
    )


def read_npz(arrays: Mapping[str, np.ndarray[Any, Any]], *, name: str, kind: Kind = "class") -> Examples:
    """Examples from an `.npz` with `x` and `y`, and optionally `names` (or `class_names`), `groups` (or `group`) and `split`."""
    lowered = {key.lower(): key for key in arrays}

    def first(*keys: str) -> np.ndarray[Any, Any] | None:
        return next((arrays[lowered[key]] for key in keys if key in lowered), None)

    x = first("x", "data", "images", "features", "embeddings", "texts")
    if x is None:
        raise InputError(f"{name} holds the arrays {some(arrays, 8)}: expected x and y (images, vectors or strings, and their labels).")
    names = first("names", "class_names")
    return read_arrays(
        x,
        first("y", "label", "labels"),
        name=name,
        names=None if names is None else [decoded(n, f"{name}: a class name") if isinstance(n, bytes) else str(n) for n in names.ravel()],
        groups=first("groups", "group"),
        split=first("split", "splits"),
        kind=kind,
    )


def plain(values: Any) -> Any:
    """A NumPy array for tensors and array-likes with numbers, the values themselves otherwise."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
        return values.numpy()
    return values


def as_items(x: Any, name: str) -> tuple[Items, list[str] | None]:
    """Items, and row names where the inputs have some (paths)."""
    x = plain(x)
    if not isinstance(x, np.ndarray):
        if isinstance(x, str | bytes | Path) or not hasattr(x, "__len__"):
            raise InputError(f"{name}: expected an array, or a list of paths or strings, found {type(x).__name__}.")
        if any(isinstance(value, str | Path) for value in x):
            return _strings(list(x), name)
        if len(x) and all(missing(value) for value in x):
            raise InputError(f"{name}: all {len(x)} rows are missing (None or NaN): expected texts, paths, images or vectors.")
        try:
            x = np.stack([np.asarray(plain(value)) for value in x]) if len(x) else np.empty((0,))
        except (ValueError, TypeError):
            raise InputError(
                f"{name}: the rows of x differ in shape: expected images of one size, vectors of one width, paths or strings."
            ) from None
    if x.dtype.kind in "US" or (x.dtype == object and any(isinstance(value, str | Path) for value in x.ravel())):
        given = x.ravel().tolist()
        return _strings([decoded(v, f"{name}: row {row}") if isinstance(v, bytes) else v for row, v in enumerate(given)], name)
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4):
        raise InputError(f"{name}: expected images [N, H, W(, C)], vectors [N, D] or strings [N], found {x.dtype} {list(x.shape)}.")
    return (Vectors(as_vectors(x, name)) if x.ndim == 2 else Pixels(_as_pixels(x, name))), None


def _strings(values: list[Any], name: str) -> tuple[Items, list[str] | None]:
    """Paths where they are Path objects or all end as images do; else texts. What is missing stays, to be refused or left out later."""
    there = [v for v in values if not missing(v)]
    if strange := next(((row, v) for row, v in enumerate(values) if not missing(v) and not isinstance(v, str | Path)), None):
        raise InputError(f"{name}: row {strange[0]} is a {type(strange[1]).__name__}: expected a text, or a path, in each row.")
    are_paths = bool(there) and all(isinstance(v, Path) or Path(v[-8:]).suffix.lower() in IMAGE_SUFFIXES for v in there)
    if not are_paths:
        return Texts(["" if missing(v) else str(v) for v in values]), None
    paths = [None if missing(v) else Path(v) for v in values]
    if not any(path.is_file() for path in paths if path is not None):
        raise InputError(f"{name}: none of {len(there)} files exists: {some(map(str, there), 3)}.")
    return Files(paths), [f"{name}:{row}" if path is None else str(path) for row, path in enumerate(paths)]


def as_vectors(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [N, D]. Raises InputError naming the first row that holds NaN or infinity, and how many do."""
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{name}: expected vectors [N, D], found {list(x.shape)}.")
    with np.errstate(over="ignore"):
        vectors = x.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        more = f" and {len(bad) - 1} more rows hold" if len(bad) > 1 else " holds"
        raise InputError(f"{name}: row {bad[0]}{more} NaN or infinite values: remove or mend them before adapting.")
    return vectors


def _as_pixels(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4):
        if x.shape[1] not in (1, 3):
            raise InputError(f"{name}: expected images with 1, 3 or 4 channels last (or 1 or 3 first), found shape {list(x.shape)}.")
        x = np.moveaxis(x, 1, -1)
    if 0 in x.shape[1:]:
        raise InputError(f"{name}: expected images of at least one pixel, found shape {list(x.shape)}.")
    if x.dtype == np.uint8:
        return x
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 0.0)
    if x.dtype.kind == "b" or (x.dtype.kind == "f" and low >= 0 and high <= 1):
        scaled: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(x.astype(np.float32) * 255).astype(np.uint8)
        return scaled
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        return x.astype(np.uint8)
    raise InputError(
        f"{name}: images of {x.dtype} from {low:g} to {high:g} are unclear: expected uint8 in 0..255 or floats in 0..1, "
        "before any normalisation (the backbone does its own)."
    )


def _groups(groups: Any, count: int, name: str) -> list[str | None]:
    groups = _row_each(groups, count, name, "group")
    return [None if missing(g) or (_is_integer(g) and g == -1) else str(g) for g in groups]


def _row_each(values: Any, count: int, name: str, what: str) -> Any:
    """Values of which there is one a row."""
    values = plain(values)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InputError(f"{name}: expected one {what} a row, found {what}s of shape {list(values.shape)}.")
    if not hasattr(values, "__len__") or len(values) != count:
        found = f"{len(values)} {what}s" if hasattr(values, "__len__") else f"a {type(values).__name__}"
        raise InputError(f"{name}: expected one {what} a row, found {count} rows and {found}.")
    return values


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def split_codes(split: Any, count: int, name: str) -> Integers:
    """0 train, 1 validation, 2 test, -1 none, from such codes or from words (train, val, dev, test, any)."""
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
