"""What is known of the gains of several rivals over one model: from rows held out in repeated folds, from classes of other data, or both.

A gain is a rival's accuracy minus the frozen model's, as a difference of shares (.05 is 5 points).

Reference: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003 (folds share training rows);
DerSimonian and Laird, "Meta-analysis in clinical trials", 1986 (weights by inverse variance, with the variance between studies).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats, Numbers, finite

LEAST_LOG = -700.0  # log-probabilities below count as this: e^-700 is about the smallest number there is
SHARED = 0.7  # the part of the variance that rows alone do not show: all folds learn from the same few rows (benchmarks/guard.py)


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Estimated gains of M rivals: `names`, `mean` [M], `covariance` [M, M] of the means, `freedom` [M] of their variances.

    `rows`: labelled rows behind it; `classes`: classes of other data behind it. `own` [M]: the gains on the own rows alone, NaN where
    none were asked.
    """

    names: tuple[str, ...]
    mean: Floats
    covariance: Floats
    freedom: Floats
    rows: int
    classes: int
    own: Floats

    @property
    def error(self) -> Floats:
        """The standard errors [M]."""
        found: Floats = np.sqrt(self.covariance.diagonal())
        return found


def soft_correctness(log_probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """How clearly a side was right: [R, N] in [0, 1] from held-out log-probabilities [R, N, K] (NaN where not held out), labels [N] in
    0..K-1.

    1/2 + m / (2 s), cut to [0, 1]: m is the log-probability of the right class minus the highest of the others, s the median of |m| of all
    rows of this side. Above 1/2 means right. A row that is hardly right counts hardly more than one that is hardly wrong, so chance matters
    less; and since s is the side's own, a side that is only bolder, or better calibrated, gains nothing.
    """
    logs: Floats = np.asarray(log_probabilities, dtype=np.float64)
    right = np.asarray(labels)
    if logs.ndim != 3 or logs.shape[2] < 2:
        raise ValueError(f"expected log-probabilities [repeats, rows, classes] of 2 or more classes, found shape {logs.shape}.")
    n, k = logs.shape[1:]
    if right.shape != (n,) or not np.issubdtype(right.dtype, np.integer) or not np.all((right >= 0) & (right < k)):
        raise ValueError(f"expected {n} labels between 0 and {k - 1}, found {right.dtype} of shape {right.shape}.")
    logs = np.maximum(logs, LEAST_LOG)
    others = logs.copy()
    others[:, np.arange(n), right] = -np.inf
    margin: Floats = logs[:, np.arange(n), right] - others.max(2)
    typical = float(np.nanmedian(np.abs(margin)))
    if not typical > 0:
        return (np.sign(margin) + 1) / 2
    soft: Floats = np.clip((1 + margin / typical) / 2, 0.0, 1.0)
    return soft


def evidence_of_rows(frozen: Numbers, rivals: Mapping[str, Numbers]) -> Evidence:
    """Gains on the target's own rows. `frozen` and each of `rivals`: correctness [R, N] in [0, 1] of N rows in R repeats of the folds,
    NaN where a row was not held out; [N] is one repeat. `soft_correctness` shows more than 0 and 1.

    Repeats are averaged for each row: they take out the luck of the folds, but they add no rows. The variance of the mean is
    (1 + .7) (s^2 + 1 / (N - 1)) / N, where s^2 is that of the rows. The 1 stands for one more row on which the rival loses (three rows
    gained of thirty are no proof), the .7 for the rows that all folds learn from. Rows that some side never answered are left out.
    Raises ValueError where fewer than two rows are left.
    """
    names = tuple(rivals)
    if not names:
        raise ValueError("expected at least one rival, found none.")
    tables = [_answers(frozen, "the frozen side"), *(_answers(rivals[name], name) for name in names)]
    if len({len(t) for t in tables}) > 1:
        raise ValueError(f"expected every side to answer the same rows, found {sorted({len(t) for t in tables})} rows.")
    both = np.stack(tables)
    both = both[:, ~np.isnan(both).any(0)]
    n = both.shape[1]
    if n < 2:
        raise ValueError(f"expected at least 2 rows that every side answered while they were held out, found {n}.")
    differences = both[1:] - both[0]
    mean: Floats = differences.mean(1)
    apart = differences - mean[:, None]
    covariance = (1 + SHARED) * (apart @ apart.T + 1) / (n * (n - 1))
    return Evidence(names, mean, covariance, np.full(len(names), n - 1.0), n, 0, mean)


def evidence_of_classes(rivals: Mapping[str, Numbers], ways: int) -> Evidence:
    """Gains on classes of other data that nothing was learned from. Each of `rivals`: differences [S, C] of C classes in S finetuning runs
    ([C] is one run), the same classes for all; `ways` >= 1: the number of classes of the target.

    The gain on the target need not be that on other classes. Its classes are taken for a draw of the same kind, so their mean differs from
    the mean of all such classes with variance s^2 / ways, where s^2 is that of the classes judged. The variance is
    s^2 (1 / C + 1 / ways) + r^2 / S, with r^2 the variance of the runs' means (unknown, and taken as 0, for one run).
    Raises ValueError for fewer than two classes.
    """
    names = tuple(rivals)
    if not names:
        raise ValueError("expected at least one rival, found none.")
    if ways < 1:
        raise ValueError(f"expected at least 1 class of the target, found {ways}.")
    runs = [np.atleast_2d(finite(rivals[name], name)) for name in names]
    shapes = {r.shape for r in runs}
    count = runs[0].shape[-1]
    if len(shapes) > 1 or runs[0].ndim != 2 or count < 2:
        raise ValueError(f"expected differences [runs, classes] of the same 2 or more classes, found shapes {sorted(shapes)}.")
    several = np.stack(runs)  # [M, S, C]
    by_class = several.mean(1)
    mean: Floats = by_class.mean(1)
    apart = by_class - mean[:, None]
    between = apart @ apart.T / (count - 1)
    covariance = between * (1 / count + 1 / ways)
    freedom = np.full(len(names), count - 1.0)
    if several.shape[1] > 1:
        of_runs = several.mean(2).var(1, ddof=1) / several.shape[1]
        parts = covariance.diagonal()
        with np.errstate(invalid="ignore", divide="ignore"):
            joint = (parts + of_runs) ** 2 / (parts**2 / freedom + of_runs**2 / (several.shape[1] - 1))
        freedom = np.where(np.isnan(joint), freedom, joint)
        covariance = covariance + np.diag(of_runs)
    return Evidence(names, mean, covariance, freedom, 0, count, np.full(len(names), math.nan))


def joined_evidence(rows: Evidence, classes: Evidence) -> Evidence:
    """Both, weighted by inverse variance, for the rivals of `rows`; a rival that `classes` lacks keeps the evidence of the rows.

    Where the two disagree by more than their errors, the variance of the classes grows by the excess (DerSimonian and Laird), so that
    classes that are not like the target lose their weight.
    """
    mean, freedom, share = rows.mean.copy(), rows.freedom.copy(), np.zeros(len(rows.names))
    other = np.zeros_like(rows.covariance)
    here = [(i, classes.names.index(name)) for i, name in enumerate(rows.names) if name in classes.names]
    if here:
        i, j = (np.array(side) for side in zip(*here, strict=True))
        own, related = rows.covariance[i, i], classes.covariance[j, j]
        apart = classes.mean[j] - rows.mean[i]
        excess = np.maximum(0.0, apart**2 - own - related)
        weight = own / np.maximum(own + related + excess, np.finfo(float).tiny)
        mean[i] += weight * apart
        grown = related + excess
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = (((1 - weight) ** 2 * own) ** 2 / rows.freedom[i], (weight**2 * grown) ** 2 / classes.freedom[j])
            freedom[i] = ((1 - weight) ** 2 * own + weight**2 * grown) ** 2 / (parts[0] + parts[1])
        share[i] = weight
        other[np.ix_(i, i)] = classes.covariance[np.ix_(j, j)] + np.diag(excess)
    covariance = rows.covariance * np.outer(1 - share, 1 - share) + other * np.outer(share, share)
    return Evidence(rows.names, mean, covariance, freedom, rows.rows, classes.classes, rows.mean)


def _answers(values: Numbers, what: str) -> Floats:
    """Mean correctness [N] over the repeats, NaN for rows that were never held out."""
    table: Floats = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"expected correctness [repeats, rows] of {what}, found shape {table.shape}.")
    answered = ~np.isnan(table)
    if not np.all((table[answered] >= 0) & (table[answered] <= 1)):
        raise ValueError(f"expected correctness of {what} between 0 and 1, found {np.nanmin(table)} to {np.nanmax(table)}.")
    with np.errstate(invalid="ignore"):
        means: Floats = np.nansum(table, axis=0) / answered.sum(0)
    return means
