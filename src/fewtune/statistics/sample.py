"""Checks of what statistics are given: finite numbers in one dimension, or an error that says what was found instead."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.ArrayLike

CHUNK = 1 << 21  # numbers of a resampling held in memory at once: 16 MB of float64


def sample(values: Numbers, what: str = "values") -> Floats:
    """`values` as float64 [n], n >= 1. Raises ValueError for another shape, for an empty sample and for NaN or infinity."""
    array: npt.NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"expected {what} as one dimension of at least one number, found shape {array.shape}.")
    return finite(array, what)


def finite(values: Numbers, what: str) -> Floats:
    """`values` as float64 of any shape. Raises ValueError for values that are not numbers, for NaN and for infinity."""
    try:
        array: Floats = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"expected {what} as numbers, found {np.asarray(values).dtype}.") from None
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"expected finite {what}, found {bad} NaN or infinite among {array.size}.")
    return array


def fraction(level: float, what: str = "level") -> float:
    """A number strictly between 0 and 1, or ValueError."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected {what} between 0 and 1, found {level}.")
    return float(level)


def positive(value: float, what: str) -> float:
    """A finite number above 0, or ValueError."""
    if not (value > 0.0 and np.isfinite(value)):
        raise ValueError(f"expected {what} above 0, found {value}.")
    return float(value)
