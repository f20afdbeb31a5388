"""The metrics of answers by name, and the one that a kind of task is judged by where none is named.

A task is of kind "class" (probabilities [N, K], truth [N] in 0..K-1, -1 missing), "float" (numbers [N], truth [N], NaN missing) or
"multi" (probabilities [N, L], truth [N, L] of 0 or 1, NaN missing). Rows and entries whose truth is missing never count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from fewtune.statistics.class_metrics import accuracy, balanced_accuracy, log_loss, macro_f1, mcc, micro_f1, right, surprise
from fewtune.statistics.known import Kind, kind_of, known_rows
from fewtune.statistics.number_metrics import absolute_errors, mae, r2, rmse, spearman
from fewtune.statistics.ranking_metrics import auc, average_precision
from fewtune.statistics.sample import Floats, Numbers


@final
@dataclass(frozen=True)
class Metric:
    """A metric: its `name`, the `kinds` of tasks it is for, whether a `better` answer has a "high" or a "low" value, and `of`(prediction,
    truth), its value (NaN where it has none). `each` gives the contribution of each known row [n] where a metric of a class or float
    task is their mean, else None.
    """

    name: str
    kinds: tuple[Kind, ...]
    of: Callable[[Numbers, Numbers], float]
    better: Literal["high", "low"] = "high"
    each: Callable[[Numbers, Numbers], Floats] | None = None

    def gain(self, value: float, before: float) -> float:
        """By how much `value` is better than `before`: above 0 where it is, whichever direction is better."""
        return value - before if self.better == "high" else before - value

    def contributions(self, prediction: Numbers, truth: Numbers) -> Floats | None:
        """The contribution of each row [N] (NaN: its truth is missing), whose mean is the value; None where it is no mean over rows."""
        if self.each is None or kind_of(prediction, truth) == "multi":
            return None
        rows = known_rows(prediction, truth)
        found = np.full(len(rows), np.nan)
        found[rows] = self.each(prediction, truth)
        return found


_ALL = (
    Metric("accuracy", ("class",), accuracy, each=right),
    Metric("balanced_accuracy", ("class",), balanced_accuracy),
    Metric("macro_f1", ("class", "multi"), macro_f1),
    Metric("micro_f1", ("class", "multi"), micro_f1, each=right),
    Metric("mcc", ("class",), mcc),
    Metric("auc", ("class", "multi"), auc),
    Metric("average_precision", ("class", "multi"), average_precision),
    Metric("log_loss", ("class", "multi"), log_loss, "low", surprise),
    Metric("r2", ("float",), r2),
    Metric("rmse", ("float",), rmse, "low"),
    Metric("mae", ("float",), mae, "low", absolute_errors),
    Metric("spearman", ("float",), spearman),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def default_metric(kind: Kind, balanced: bool = False) -> Metric:
    """The metric that a task of this kind is judged by: accuracy (`balanced`: balanced accuracy), R2, or the mean average precision.

    For "multi" it is the average precision because labels are rare, so that most entries are right by saying "no", and because it needs no
    threshold: with few labelled rows probabilities seldom reach 1/2 and F1 at 1/2 is near 0 for rankings that are good.
    """
    if kind == "class":
        return METRICS["balanced_accuracy" if balanced else "accuracy"]
    return METRICS["r2" if kind == "float" else "average_precision"]
