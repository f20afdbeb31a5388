"""Do two models fail on the same rows? A 2 x 2 table of right and wrong, kappa, and errors in common against independence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.errors import InputError
from fewtune.statistics.intervals import Interval
from fewtune.statistics.sample import Integers, Numbers


@final
@dataclass(frozen=True, eq=False)
class Agreement:
    """How two models' errors agree on the same N rows.

    `table` [2, 2]: rows by (first right, second right), each as [right, wrong]; so table[1, 1] is wrong in both. `kappa`: Cohen's kappa of
    right and wrong; 0 is what independent errors give, 1 the same errors (NaN where both are always right, or always wrong). `common`: the
    share of rows that both get wrong. `independent`: the same share if errors were independent, wrong_1 wrong_2 / N^2. `excess`: common -
    independent, with its bootstrap interval over rows (NaN for one row). `either`: the share of rows that at least one gets
    right, the most that a choice between the two could reach.
    """

    table: Integers
    kappa: float
    common: float
    independent: float
    excess: Interval
    either: float


def error_agreement(first: Numbers, second: Numbers, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Agreement:
    """The agreement of errors of two models. `first`, `second` [N]: whether each is right on row n (True, False, or 1, 0).

    Raises InputError for other values, for no rows, or for different numbers of rows.

    >>> found = error_agreement([1, 1, 0, 0], [1, 0, 1, 0])
    >>> found.table.tolist(), found.kappa
    ([[1, 1], [1, 1]], 0.0)
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(f"expected whether each of the same rows is right, for two models, found shapes {a.shape} and {b.shape}.")
    if not np.isin(a, (0, 1)).all() or not np.isin(b, (0, 1)).all():
        raise InputError("expected True (right) or False (wrong) for each row, found other values: compare predictions with labels first.")
    counts = np.bincount(2 * (1 - a.astype(np.int64)) + (1 - b.astype(np.int64)), minlength=4)
    n = len(a)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, resamples) / n
    low, high = np.quantile(_excess(drawn), [(1 - level) / 2, (1 + level) / 2]) if n > 1 else (np.nan, np.nan)
    share = counts / n
    excess = float(_excess(share[None])[0])
    return Agreement(
        table=counts.reshape(2, 2),
        kappa=_kappa(share),
        common=float(share[3]),
        independent=float((share[2] + share[3]) * (share[1] + share[3])),
        excess=Interval(excess, min(float(low), excess), max(float(high), excess), level, n, "bootstrap"),
        either=float(1 - share[3]),
    )


def _excess(shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """wrong in both - wrong_1 wrong_2, of shares [R, 4] of (both right, second wrong, first wrong, both wrong)."""
    return np.asarray(shares[:, 3] - (shares[:, 2] + shares[:, 3]) * (shares[:, 1] + shares[:, 3]))


def _kappa(share: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    wrong_1, wrong_2 = float(share[2] + share[3]), float(share[1] + share[3])
    chance = wrong_1 * wrong_2 + (1 - wrong_1) * (1 - wrong_2)
    return float((share[0] + share[3] - chance) / (1 - chance)) if chance < 1 else float("nan")
