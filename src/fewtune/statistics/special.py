"""The functions of `scipy.special` that are used here. SciPy is imported at the first call, because that takes a fifth of a second, and
predicting with a saved model calls none of them."""

from __future__ import annotations

from typing import Any

import numpy as np


def ndtri(p: Any) -> Any:
    """The quantile of the normal distribution at p, in (0, 1)."""
    from scipy import special

    return special.ndtri(p)


def stdtr(freedom: Any, t: Any) -> Any:
    """The probability that Student's t, with `freedom` above 0, is at most t."""
    from scipy import special

    return special.stdtr(freedom, t)


def stdtrit(freedom: Any, p: Any) -> Any:
    """The quantile of Student's t at p, in (0, 1)."""
    from scipy import special

    return special.stdtrit(freedom, p)


def chdtri(freedom: Any, p: Any) -> Any:
    """The value that chi-squared, with `freedom` above 0, exceeds with probability p."""
    from scipy import special

    return special.chdtri(freedom, p)


def log_softmax(logits: Any, axis: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The logarithm of the softmax along an axis."""
    from scipy import special

    found: np.ndarray[Any, np.dtype[np.float64]] = special.log_softmax(logits, axis=axis)
    return found
