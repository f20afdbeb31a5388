"""Metrics of several training runs on the same rows: both the rows and the runs were drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewtune.statistics.intervals import Interval
from fewtune.statistics.known import known_rows
from fewtune.statistics.metric_intervals import RESAMPLES, Rows, percentiles, resampled, two_sided
from fewtune.statistics.metrics import Metric
from fewtune.statistics.sample import Floats, Numbers, fraction


def runs_metric(
    metric: Metric, runs: Sequence[Numbers], truth: Numbers, level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of a metric over runs, and its percentile bootstrap interval: rows and runs are drawn with replacement, all runs on the same
    rows. With one run the interval is over rows alone."""
    return runs_gain(metric, runs, None, truth, level, resamples=resamples, seed=seed)[0]


def runs_gain(
    metric: Metric,
    first: Sequence[Numbers],
    second: Sequence[Numbers] | None,
    truth: Numbers,
    level: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Interval, float]:
    """The mean gain of runs `first` over the runs `second` of the same seeds, in pairs; its interval and the two-sided p of "no gain".

    Above 0: first is better, for metrics of which less is better too. `second` of None: the metric of `first` itself, and p has no meaning.
    Raises ValueError for runs that are no pairs.
    """
    if not first or (second is not None and len(second) != len(first)):
        raise ValueError(f"expected as many runs of both, at least one, found {len(first)} and {0 if second is None else len(second)}.")
    ours, true = [np.asarray(run) for run in first], np.asarray(truth)
    theirs = None if second is None else [np.asarray(run) for run in second]
    known = known_rows(ours[0], true)
    every = np.flatnonzero(known)

    def one(run: int, rows: Rows) -> float:
        mine = metric.of(ours[run][rows], true[rows])
        return mine if theirs is None else metric.gain(mine, metric.of(theirs[run][rows], true[rows]))

    value = float(np.mean([one(run, every) for run in range(len(ours))]))
    each = _contributions(metric, ours, theirs, true)
    if each is not None and len(every) > 1:
        values = _resampled_means(each[:, known], resamples, seed)
    else:
        draws = np.random.default_rng([seed, 1])

        def drawn(rows: Rows) -> float:
            return float(np.mean([one(int(run), rows) for run in draws.integers(len(ours), size=len(ours))]))

        values = resampled(drawn, known, resamples, seed)
    interval = percentiles(value, values, fraction(level), len(every))
    return interval, 1.0 if np.isnan(interval.low) else two_sided(values)


def _contributions(
    metric: Metric, ours: Sequence[Numbers], theirs: Sequence[Numbers] | None, truth: Numbers
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
    """What each row adds to the metric (or to the gain) of each run, [runs, rows]; None where the metric is no mean over rows."""
    parts = []
    for run, mine in enumerate(ours):
        one = metric.contributions(mine, truth)
        other = None if theirs is None else metric.contributions(theirs[run], truth)
        if one is None or (theirs is not None and other is None):
            return None
        parts.append(one if other is None else one - other if metric.better == "high" else other - one)
    return np.stack(parts)


def _resampled_means(each: np.ndarray[tuple[int, int], np.dtype[np.float64]], resamples: int, seed: int) -> Floats:
    """The means of `each` [runs, rows] over drawn rows and drawn runs."""
    generator = np.random.default_rng(seed)
    runs, rows = each.shape
    found = np.empty(resamples)
    for number in range(resamples):
        chosen = each[generator.integers(runs, size=runs)]
        found[number] = chosen[:, generator.integers(rows, size=rows)].mean()
    return found
