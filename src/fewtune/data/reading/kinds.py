"""What kind of labels a column of a table holds: classes, numbers, or several labels at once. And columns of numbers as inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewtune.data.reading.labels import LARGEST, Kind, missing
from fewtune.data.reading.order import some
from fewtune.data.reading.table import Table
from fewtune.errors import InputError
from fewtune.words import option

KINDS: tuple[Kind, ...] = ("class", "float", "multi")
FEW = 20  # so many different whole numbers or fewer are classes
CODES = 200  # so many whole numbers that count from 0 or 1 without a gap are the numbers of classes


def kind_of_column(values: Sequence[Any], what: str) -> Kind:
    """The kind of a column, by its values:

    "multi" where a value is a list, or names joined by "|"; "float" where the values are numbers and some are not whole, or there are many
    different ones; "class" otherwise: words, truth values, up to 20 different whole numbers, and numbers of classes (they count from 0 or
    1 without a gap, up to 200 of them). `what`: the column in messages.
    Raises InputError for a column without any label, and for one that mixes numbers and words.
    """
    known = [value for value in values if not missing(value)]
    if not known:
        raise InputError(f"{what} has no label in any row: fill it, or leave the column out.")
    if any(isinstance(v, list | tuple | np.ndarray) or (isinstance(v, str) and ("|" in v or v.lstrip().startswith("["))) for v in known):
        return "multi"
    if all(isinstance(value, bool | np.bool_) for value in known):
        return "class"
    numbers = [number_of(value) for value in known]
    words = [value for value, number in zip(known, numbers, strict=True) if number is None]
    if len(words) == len(known):
        return "class"
    if words:
        given = next(value for value, number in zip(known, numbers, strict=True) if number is not None)
        raise InputError(
            f"{what} mixes numbers and words, such as {str(given)[:40]!r} and {str(words[0])[:40]!r}: clear the words, or say that they "
            f"are classes with {option('--kind NAME=class', 'kinds={NAME: ' + chr(34) + 'class' + chr(34) + '}')}."
        )
    found = {number for number in numbers if number is not None}
    return "class" if all(number.is_integer() for number in found) and _codes(found) else "float"


def number_of(value: Any) -> float | None:
    """A value as a number; None for one that is none."""
    if isinstance(value, str) and ("_" in value or not value.strip()):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _codes(found: set[float]) -> bool:
    """Whether different whole numbers are likely to stand for classes."""
    first, last = min(found), max(found)
    return len(found) <= FEW or (first in (0, 1) and len(found) == last - first + 1 <= CODES)


def check_kinds(kinds: Mapping[str, str], columns: Sequence[str]) -> dict[str, Kind]:
    """Kinds as given, by column. Raises InputError for an unknown kind, and for a column that is no label."""
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise InputError(f"unknown kind {kind!r} of {name}: expected class, float or multi.")
        if name not in columns:
            raise InputError(f"a kind is given for {name!r}, which is no label column: name it with {option('--label ' + name)} too.")
    return {name: kind for name, kind in kinds.items() if kind in KINDS}


def read_numbers(table: Table, names: Sequence[str], *, empty: bool = False) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Columns of numbers as inputs [N, M], NaN missing. Raises InputError for a column that is missing, named twice, holds text or a
    number beyond `LARGEST`, or (unless `empty`) no number at all."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise InputError(f"{table.name}: the column of numbers {twice[0]!r} is named twice: name it once.")
    found = np.full((table.count, len(names)), np.nan)
    for place, name in enumerate(names):
        if name not in table.columns:
            raise InputError(f"{table.name} has no column {name!r} of numbers: its columns are {some(table.columns, 12)}.")
        for row, value in enumerate(table.columns[name]):
            if missing(value) or (isinstance(value, str) and value.strip().casefold() in ("nan", "null", "<na>")):
                continue
            number = number_of(value)
            if number is None or abs(number) > LARGEST:
                kind = "text" if number is None else "an infinite number" if math.isinf(number) else "a number beyond 1e100"
                raise InputError(
                    f"{table.where(row)}: column {name!r} holds {kind}, {str(value)[:40]!r}: numbers are expected (clear it if unknown)."
                )
            found[row, place] = number
        if table.count and not empty and np.isnan(found[:, place]).all():
            raise InputError(f"{table.name}: column {name!r} holds no number in any row: leave it out.")
    return found
