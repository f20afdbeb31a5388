"""Evidence for the gains of several rivals over one model: from rows held out in repeated folds, from classes of other data, or both.

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
UNSURE = 0.25  # share of the answers that count in part: those with the smallest margins
SHARED = 0.3  # variance beyond that of the rows: all folds learn from the same few (benchmarks/guard.py)
UNKNOWN = 0.7  # the same where folds are not known, so that training runs cannot be told apart


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

    The margin m is the log-probability of the right class minus the highest of the others. The quarter of all answers with the smallest |m|
    count in part: 1/2 + sign(m) min(1, 4 q) / 2, where q in (0, 1) is the rank of |m| among all answers of the side. The others count 0 or
    1, and above 1/2 is right. So chance matters less where a side hardly decides; and since only ranks count, a side that is bolder or
    better calibrated gains nothing by that.
    """
    from scipy.stats import rankdata  # takes a second to import

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
    known = ~np.isnan(margin)
    soft = np.full(margin.shape, np.nan)
    q = (rankdata(np.abs(margin[known])) - 0.5) / max(1, int(known.sum()))
    soft[known] = (1 + np.sign(margin[known]) * np.minimum(1.0, q / UNSURE)) / 2
    return soft


def evidence_of_rows(frozen: Numbers, rivals: Mapping[str, Numbers], folds: npt.ArrayLike | None = None) -> Evidence:
    """Gains on the target's own rows. `frozen` and each of `rivals`: correctness [R, N] in [0, 1] of N rows in R repeats of the folds,
    NaN where a row was not held out; [N] is one repeat. `soft_correctness` shows more than 0 and 1. `folds` [R, N]: the number of
    the fold in which each row was held out, and so the training run that answered it; None: not known.

    Repeats are averaged for each row: they take out the luck of the folds, but they add no rows. The variance of the mean is (1 + .3) (s^2
    + 1 / (N - 1)) / N + f^2 / J. s^2 is that of the rows; the 1 stands for one more row on which the rival loses (three rows gained of
    thirty are no proof), the .3 for the rows that all folds learn from. f^2 is how much one training run differs from the next: the
    variance between the J folds of all repeats beyond that of their rows (analysis of variance), plus one standard error that it has where
    runs are alike, and never below 0. Where folds are not known, .7 stands for both, which is too little for 200 rows and more. Rows that
    some side never answered are left out. Raises ValueError where fewer than two rows are left.
    """
    names = _names(rivals)
    tables = [_answers(frozen, "the frozen side"), *(_answers(rivals[name], name) for name in names)]
    number = np.zeros(tables[0].shape, dtype=np.int64) if folds is None else np.atleast_2d(np.asarray(folds))
    if len({t.shape for t in tables}) > 1 or number.shape != tables[0].shape:
        raise ValueError(f"expected the same rows, repeats and folds of every side, found {[t.shape for t in tables]} and {number.shape}.")
    each = np.stack(tables[1:]) - tables[0]  # [M, R, N]
    answered = ~np.isnan(each).any(0)
    held = answered.any(0)
    n = int(held.sum())
    if n < 2:
        raise ValueError(f"expected at least 2 rows that every side answered while they were held out, found {n}.")
    each, answered, number = each[:, :, held], answered[:, held], number[:, held]
    differences: Floats = np.where(answered, each, 0.0).sum(1) / answered.sum(0)
    mean: Floats = differences.mean(1)
    apart = differences - mean[:, None]
    covariance = (1 + (UNKNOWN if folds is None else SHARED)) * (apart @ apart.T + 1) / (n * (n - 1))
    luck, freedom = _luck_of_folds(each, answered, number)
    parts = covariance.diagonal().copy()
    return Evidence(names, mean, covariance + np.diag(luck), _freedom((parts, n - 1.0), (luck, freedom)), n, 0, mean)


def _luck_of_folds(each: Floats, answered: npt.NDArray[np.bool_], number: npt.NDArray[np.integer]) -> tuple[Floats, float]:
    """f^2 / J of each rival [M], and its degrees of freedom, from differences [M, R, N]: a one-way analysis of variance in each repeat,
    averaged over repeats.
    """
    excess, chance, folds, freedom = [], [], 0, 0
    for r in range(len(answered)):
        x = each[:, r, answered[r]]
        _, index = np.unique(number[r, answered[r]], return_inverse=True)
        sizes = np.bincount(index)
        f, n = len(sizes), len(index)
        if f < 2 or n <= f:
            continue
        means = np.stack([np.bincount(index, weights=row) for row in x]) / sizes
        between = (sizes * (means - x.mean(1, keepdims=True)) ** 2).sum(1) / (f - 1)
        within = ((x - means[:, index]) ** 2).sum(1) / (n - f)
        size = (n - (sizes**2).sum() / n) / (f - 1)
        excess.append((between - within) / size)
        chance.append(within / size)
        folds, freedom = folds + f, freedom + f - 1
    if not excess:
        return np.zeros(len(each)), 1.0
    error = np.mean(chance, axis=0) * math.sqrt(2 / freedom)  # of the excess, where runs are alike
    luck: Floats = np.maximum(np.mean(excess, axis=0) + error, 0.0) / folds
    return luck, float(freedom)


def evidence_of_classes(rivals: Mapping[str, Numbers], ways: int) -> Evidence:
    """Gains on classes of other data that nothing was learned from. Each of `rivals`: differences [S, C] of C classes in S finetuning runs
    ([C] is one run), the same classes for all; `ways` >= 1: the number of classes of the target.

    The gain on the target need not be that on other classes. Its classes are taken for a draw of the same kind, so their mean differs from
    that of all such classes with variance b^2 / ways. The variance is s^2 / C + b^2 / ways + r^2 / S: s^2 is that of the classes' means
    over runs; b^2 is the part of it that two runs agree on (their covariance over classes, 0 to s^2; with one run s^2, which is its upper
    bound); r^2 is the variance of the runs' means (with one run unknown, and taken as 0). Raises ValueError for fewer than two classes.
    """
    names = _names(rivals)
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
    total = between.diagonal()
    agreed, of_runs = total, np.zeros(len(names))
    s = several.shape[1]
    if s > 1:
        # The variance of a mean of S runs is (sum of the runs' variances + S (S - 1) covariances) / S^2.
        agreed = np.clip((s**2 * total - several.var(2, ddof=1).sum(1)) / (s * (s - 1)), 0.0, total)
        of_runs = several.mean(2).var(1, ddof=1) / s
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(np.sqrt(agreed / total))
    covariance = between / count + between * np.outer(share, share) / ways
    parts = covariance.diagonal().copy()
    freedom = _freedom((parts, count - 1.0), (of_runs, s - 1.0))
    return Evidence(names, mean, covariance + np.diag(of_runs), freedom, 0, count, np.full(len(names), math.nan))


def joined_evidence(rows: Evidence, classes: Evidence) -> Evidence:
    """Both kinds of evidence, weighted by inverse variance, for the rivals of `rows`. A rival that is not in `classes` has that of the
    rows.

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
        freedom[i] = _freedom(((1 - weight) ** 2 * own, rows.freedom[i]), (weight**2 * grown, classes.freedom[j]))
        share[i] = weight
        other[np.ix_(i, i)] = classes.covariance[np.ix_(j, j)] + np.diag(excess)
    covariance = rows.covariance * np.outer(1 - share, 1 - share) + other * np.outer(share, share)
    return Evidence(rows.names, mean, covariance, freedom, rows.rows, classes.classes, rows.mean)


def _freedom(*parts: tuple[Floats, Floats | float]) -> Floats:
    """Degrees of freedom [M] of a sum of variances, each with its own (Welch and Satterthwaite); parts of 0 do not count."""
    whole = np.sum([variance for variance, _ in parts], axis=0)
    shares = [np.where(variance > 0, variance**2 / np.maximum(freedom, 1e-9), 0.0) for variance, freedom in parts]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(whole > 0, whole**2 / np.sum(shares, axis=0), 1.0)
    return found


def _names(rivals: Mapping[str, Numbers]) -> tuple[str, ...]:
    if not rivals:
        raise ValueError("expected at least one rival, found none.")
    return tuple(rivals)


def _answers(values: Numbers, what: str) -> Floats:
    """Correctness [R, N], NaN for rows that were not held out."""
    table: Floats = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"expected correctness [repeats, rows] of {what}, found shape {table.shape}.")
    known = table[~np.isnan(table)]
    if not np.all((known >= 0) & (known <= 1)):
        raise ValueError(f"expected correctness of {what} between 0 and 1, found {known.min()} to {known.max()}.")
    return table
