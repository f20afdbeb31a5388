"""How sure a metric is, and whether one answer is better than another on the same rows: intervals for any metric."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fewtune.statistics.intervals import Interval, t_interval, wilson_interval
from fewtune.statistics.known import known_rows
from fewtune.statistics.metrics import Metric
from fewtune.statistics.paired import paired_interval, sign_flip_test
from fewtune.statistics.resampled import held_out_difference, spread_of_folds
from fewtune.statistics.sample import Floats, Numbers, fraction

RESAMPLES = 1000
LEAST_KNOWN = 0.5  # share of resamples in which a metric must have a value, or its bounds are NaN

Rows = npt.NDArray[np.intp]


def metric_interval(
    metric: Metric, prediction: Numbers, truth: Numbers, level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """A metric of N rows and its interval over rows: Wilson's where it is a share of right rows, the t interval where it is another mean
    over rows, else the percentile bootstrap.

    Rows are drawn with replacement, all labels of a row together (Efron 1979). Resamples in which the metric has no value (no row of a
    class, say) are left out; NaN bounds for one row or where they are more than half. Below about 20 rows the bootstrap is too narrow.
    No known row: NaN.
    """
    each = metric.contributions(prediction, truth)
    value, n = metric.of(prediction, truth), int(known_rows(prediction, truth).sum())
    if each is not None and n:
        rows = each[~np.isnan(each)]
        share = bool(np.isin(rows, (0.0, 1.0)).all()) and metric.better == "high"
        return wilson_interval(float(rows.sum()), n, level) if share else t_interval(rows, level)
    answers, true = np.asarray(prediction), np.asarray(truth)
    values = resampled(lambda rows: metric.of(answers[rows], true[rows]), known_rows(answers, true), resamples, seed)
    return percentiles(value, values, fraction(level), n)


def metric_difference(
    metric: Metric,
    first: Numbers,
    second: Numbers,
    truth: Numbers,
    level: float = 0.95,
    *,
    folds: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Interval, float]:
    """The gain of the `first` answers over the `second` on the same rows: its interval and the two-sided p of "no gain".

    Above 0 means that `first` is better, for metrics of which less is better too. Where the metric is a mean over rows: the paired t
    interval and the sign-flip test. Else the paired bootstrap: both are measured on the same drawn rows, and p is twice the smaller share
    of gains on one side of 0, (b + 1) / (m + 1). `folds`: the rows were held out in so many folds, so learners share training rows and the
    interval is wider (Nadeau and Bengio 2003, see `held_out_difference`); for the bootstrap, gains are spread about the observed one by
    the same factor. NaN bounds and p = 1 where it cannot be known.
    """
    one, other = metric.contributions(first, truth), metric.contributions(second, truth)
    rows = known_rows(first, truth)
    if one is not None and other is not None and rows.any():
        differences = _gains(metric, one[rows], other[rows])
        if folds is not None:
            return held_out_difference(differences, folds, level)
        return paired_interval(differences, level), sign_flip_test(differences)
    a, b, true = np.asarray(first), np.asarray(second), np.asarray(truth)
    value = metric.gain(metric.of(a, true), metric.of(b, true))
    gains = resampled(lambda r: metric.gain(metric.of(a[r], true[r]), metric.of(b[r], true[r])), rows, resamples, seed)
    if folds is not None:
        gains = value + (gains - value) * spread_of_folds(folds)
    interval = percentiles(value, gains, fraction(level), int(rows.sum()))
    return interval, 1.0 if math.isnan(interval.low) else two_sided(gains)


def _gains(metric: Metric, first: Floats, second: Floats) -> Floats:
    return first - second if metric.better == "high" else second - first


def resampled(value: Callable[[Rows], float], known: npt.NDArray[np.bool_], resamples: int, seed: int) -> Floats:
    """The values [resamples or fewer] of rows drawn with replacement from the known ones; those without a value are left out."""
    if resamples < 100:
        raise ValueError(f"expected at least 100 resamples, found {resamples}.")
    rows = np.flatnonzero(known)
    if len(rows) < 2:
        return np.zeros(0)
    generator = np.random.default_rng(seed)
    found = np.array([value(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(resamples)])
    some: Floats = found[~np.isnan(found)]
    return some if len(some) >= LEAST_KNOWN * resamples else some[:0]


def percentiles(value: float, values: Floats, level: float, n: int) -> Interval:
    if len(values) == 0 or math.isnan(value):
        return Interval(value, math.nan, math.nan, level, n, "bootstrap")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, n, "bootstrap")


def two_sided(gains: Floats) -> float:
    smaller = min(int((gains <= 0).sum()), int((gains >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(gains) + 1))
