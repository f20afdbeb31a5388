"""Metrics of several training runs on the same rows: both the rows and the runs were drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewtune.statistics.intervals import Interval
from fewtune.statistics.known import known_rows
from fewtune.statistics.metric_intervals import RESAMPLES, Rows, percentiles, resampled, two_sided
from fewtune.statistics.metrics import Metric
from fewtune.statistics.sample import Numbers, fraction


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
    draws = np.random.default_rng([seed, 1])

    def one(run: int, rows: Rows) -> float:
        mine = metric.of(ours[run][rows], true[rows])
        return mine if theirs is None else metric.gain(mine, metric.of(theirs[run][rows], true[rows]))

    def drawn(rows: Rows) -> float:
        runs = draws.integers(len(ours), size=len(ours)) if len(ours) > 1 else np.zeros(1, dtype=np.intp)
        return float(np.mean([one(int(run), rows) for run in runs]))

    known = known_rows(ours[0], true)
    every = np.flatnonzero(known)
    value = float(np.mean([one(run, every) for run in range(len(ours))]))
    values = resampled(drawn, known, resamples, seed)
    interval = percentiles(value, values, fraction(level), len(every))
    return interval, 1.0 if np.isnan(interval.low) else two_sided(values)
