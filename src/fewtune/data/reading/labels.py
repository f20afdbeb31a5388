"""From labels as people write them to label columns: classes, numbers, or several classes at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from fewtune.data.examples import Column, Integers
from fewtune.data.reading.order import natural, some
from fewtune.errors import InputError
from fewtune.words import counted

Kind: TypeAlias = Literal["class", "float", "multi"]
LARGEST = 1e100  # numbers beyond it have squares that no float holds
_NO_NUMBER = frozenset({"nan", "null", "<na>"})  # how programs write a missing number


def missing(value: object) -> bool:
    """Whether a value is missing: None, NaN, pandas' NA and NaT, and blank text. Words such as "nan" or "null" are ordinary texts."""
    if isinstance(value, str):
        return not value.strip()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # which cannot be compared
        return True
    return isinstance(value, float | np.generic) and bool(value != value)


def as_labels(values: Any, name: str, names: Sequence[str] | None, kind: Kind) -> list[str | int | None] | Integers | Column:
    """Labels as `make_examples` takes them, from values of the given kind. Raises InputError for values of another kind."""
    if kind == "class":
        return class_labels(values, name, named=names is not None)
    if kind == "float":
        return float_targets(values, name)
    if kind == "multi":
        return multi_targets(values, name, names)
    raise InputError(f"unknown kind of labels {kind!r}: expected class, float or multi.")


def class_labels(values: Any, name: str, *, named: bool = False) -> list[str | int | None] | Integers:
    """One class label for each row, None if it is `missing`. Floats that are whole numbers become integers; other floats are refused.

    If class names are given (`named`), -1 means missing; else -1 is a class like any other.
    """
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim == 2 and array.shape[1] == 1:
        array = values = array[:, 0]
    if array is not None and array.ndim != 1:
        raise InputError(
            f"{name}: expected one class label for each row, found labels of shape {list(array.shape)} (kind='multi' takes several)."
        )
    if array is not None and array.dtype.kind == "f":
        known = ~np.isnan(array)
        whole = np.isfinite(array[known]) & (np.abs(array[known]) < 2**53) & (array[known] == np.rint(array[known]))
        if not whole.all():
            first = array[known][~whole][0]
            raise InputError(f"{name}: label {first:g} is not a class: expected whole numbers or names (kind='float' takes numbers).")
        if named:
            return np.where(known, array, -1).astype(np.int64)
        return [str(int(value)) if there else None for value, there in zip(array.tolist(), known.tolist(), strict=True)]
    if array is not None and array.dtype.kind in "iu":
        return array.astype(np.int64) if named else [str(value) for value in array.tolist()]
    return [_class(value, row, name, named) for row, value in enumerate(values)]


def _class(value: Any, row: int, name: str, named: bool) -> str | int | None:
    if isinstance(value, np.generic):
        value = value.item()
    if missing(value):
        return None
    if isinstance(value, bytes):
        value = decoded(value, f"{name}: label of row {row}")
    if isinstance(value, float):
        if not value.is_integer():
            raise InputError(
                f"{name}: label {value:g} of row {row} is not a class: expected whole numbers or names (kind='float' takes numbers)."
            )
        value = int(value)
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise InputError(f"{name}: row {row} has several labels ({str(value)[:60]}): expected one (kind='multi' takes several).")
    return value if named and isinstance(value, int) else str(value).strip()


def decoded(value: bytes, what: str) -> str:
    """Text from UTF-8 bytes, as NumPy stores strings. Raises InputError for other bytes."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(f"{what} is not UTF-8 text (byte {problem.start}): save it as a unicode array.") from None


def float_targets(values: Any, name: str) -> Column:
    """Float targets [N, d], NaN if missing. Raises InputError for values that are not numbers, and for those beyond `LARGEST`."""
    rows = [[float("nan")] if _no_number(v) else v for v in values]
    width = max((np.size(row) for row in rows), default=1)
    table = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        try:
            numbers = np.asarray(row, dtype=np.float64).ravel()
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{name}: label {str(row)[:60]!r} of row {i} is not a number (kind='float' takes numbers).") from None
        if (np.abs(numbers) > LARGEST).any():
            raise InputError(f"{name}: row {i} holds {str(row)[:40]}: numbers from -1e100 to 1e100 are expected (clear it if unknown).")
        if len(numbers) != width and not np.isnan(numbers).all():
            raise InputError(f"{name}: row {i} holds {counted(len(numbers), 'number')}, other rows {width}: give all rows the same.")
        table[i] = numbers if len(numbers) == width else np.nan
    return Column("float", table)


def _no_number(value: Any) -> bool:
    return missing(value) or (isinstance(value, str) and value.strip().casefold() in _NO_NUMBER)


def multi_targets(values: Any, name: str, names: Sequence[str] | None = None) -> Column:
    """Multi-hot targets [N, L] from multi-hot rows, lists of names, or names joined by "|"; a missing row is -1."""
    array = np.asarray(values) if not isinstance(values, list) or _rows_of_numbers(values) else None
    if array is not None and array.ndim == 2 and array.dtype.kind in "biuf":
        hot = np.where(np.isfinite(array), array, -1).astype(np.int64)
        if not np.isin(hot, (-1, 0, 1)).all() or (names is not None and len(names) != hot.shape[1]):
            raise InputError(f"{name}: expected 0 and 1 (or -1, missing) in {len(names or hot[0])} columns, found other values or widths.")
        return Column("multi", hot, tuple(names or (str(i) for i in range(hot.shape[1]))))
    sets = [_set(value, row, name) for row, value in enumerate(values)]
    known = tuple(names) if names is not None else tuple(sorted({n for s in sets for n in s or ()}, key=natural))
    index = {n: i for i, n in enumerate(known)}
    if strange := sorted({n for s in sets for n in s or () if n not in index}):
        raise InputError(f"{name}: labels {some(strange, 3)} are not among the class names.")
    hot = np.zeros((len(sets), len(known)), dtype=np.int64)
    for row, chosen in enumerate(sets):
        hot[row, [index[n] for n in chosen or ()]] = 1
        if chosen is None:
            hot[row] = -1
    return Column("multi", hot, known)


def _rows_of_numbers(values: list[Any]) -> bool:
    """Whether a list holds arrays of numbers of one shape: multi-hot rows."""
    return bool(values) and all(isinstance(v, np.ndarray) and v.dtype.kind in "biuf" and v.shape == values[0].shape for v in values)


def _set(value: Any, row: int, name: str) -> list[str] | None:
    """The names of one row; None if missing, [] for an empty list (no class applies)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f"{name}: labels {value[:60]!r} of row {row} are not a list: expected names joined by '|'.") from None
    if isinstance(value, list | tuple | np.ndarray):
        return [str(v) for v in value]
    return None if missing(value) else [part.strip() for part in str(value).split("|") if part.strip()]
