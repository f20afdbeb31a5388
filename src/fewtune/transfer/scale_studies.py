"""Studies of the downstream law: how many models it needs, what shots do to it, what upstream accuracy leaves open, and how to draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from fewtune.errors import InputError
from fewtune.statistics.number_metrics import spearman
from fewtune.statistics.sample import Floats, Numbers
from fewtune.transfer.law import LEAST, DownstreamLaw, Points, downstream_law, errors_of, fitted, hull


@final
@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How the law depends on the number of models. `sizes` [S]; `fitting` and `prediction` [S, R]: root mean square errors of each repeat.

    Fitting error: on the points that were fitted. Prediction error: on the models held out, those with the least upstream error, which a
    law is meant to predict. NaN where a subset had too few different points.
    """

    sizes: tuple[int, ...]
    fitting: Floats
    prediction: Floats


def sensitivity(
    e_us: Numbers,
    e_ds: Numbers,
    sizes: Sequence[int],
    points: Points = "hull",
    *,
    held_out: float = 0.2,
    repeats: int = 50,
    seed: int = 0,
) -> Sensitivity:
    """Fitting and prediction error of laws fitted to random subsets of models.

    `held_out`: the share of models, those with the least upstream error, that no law is fitted to (at least 1). With "hull", prediction
    errors are on the hull of the models held out. Raises InputError for sizes below 4 or above the number of the other models.
    """
    x, y = errors_of(e_us, e_ds)
    order = np.argsort(x, kind="stable")
    count = max(1, round(held_out * len(x)))
    best, rest = order[:count], order[count:]
    if len(rest) < LEAST:
        raise InputError(
            f"a law needs at least {LEAST} points beside those held out, found {len(rest)} of {len(x)} models: give more models."
        )
    if not len(sizes) or min(sizes) < LEAST or max(sizes) > len(rest):
        raise InputError(f"sizes of subsets go from {LEAST} to {len(rest)} (the models that are not held out), found {list(sizes)}.")
    asked = best[hull(x[best], y[best])] if points == "hull" else best
    random = np.random.default_rng(seed)
    fitting, prediction = np.full((2, len(sizes), repeats), np.nan)
    for i, size in enumerate(sizes):
        for r in range(repeats):
            some = random.choice(rest, size=size, replace=False)
            used = some[hull(x[some], y[some])] if points == "hull" else some
            if len(np.unique(x[used])) < 3:
                continue
            floor, scale, exponent = fitted(x[used], y[used])
            off = y - (floor + scale * x**exponent)
            fitting[i, r], prediction[i, r] = (float(np.sqrt((off[rows] ** 2).mean())) for rows in (used, asked))
    return Sensitivity(tuple(sizes), fitting, prediction)


def shot_correlations(laws: Mapping[int, DownstreamLaw]) -> dict[str, tuple[float, float]]:
    """How scale, exponent and floor of laws at several numbers of shots go with log shots: (Pearson's, Spearman's) correlation.

    `laws`: shots -> law. Raises InputError for fewer than three numbers of shots.
    """
    if len(laws) < 3 or min(laws) < 1:
        raise InputError(f"a correlation with log shots needs laws at three or more numbers of shots, found {sorted(laws)}.")
    shots = np.log(np.array(sorted(laws), dtype=np.float64))
    found = {}
    for name in ("scale", "exponent", "floor"):
        values = np.array([getattr(laws[s], name).mean for s in sorted(laws)])
        flat = values.min() == values.max()
        found[name] = (float("nan") if flat else float(np.corrcoef(shots, values)[0, 1]), float("nan") if flat else spearman(values, shots))
    return found


def residual_spread(e_us: Numbers, e_ds: Numbers) -> float:
    """The standard deviation (n - 3 divisor) of downstream errors around the law of all points: what upstream error leaves open."""
    x, y = errors_of(e_us, e_ds)
    law = downstream_law(x, y, "all", resamples=0)
    return float(np.sqrt(((y - law.predict(x)) ** 2).sum() / max(1, len(x) - 3)))


def overlay(e_us: Numbers, e_ds: Numbers, other_us: Numbers, other_ds: Numbers) -> Floats:
    """How far the models of one pair lie above another set's hull at the same upstream error: e_ds - hull(e_us), [N].

    `other_us`, `other_ds` [M]: the points whose hull is laid over. NaN for models beyond its ends. Near 0: as good as that set's best.
    """
    x, y = errors_of(e_us, e_ds)
    ox, oy = errors_of(other_us, other_ds)
    edge = hull(ox, oy)[::-1]
    return np.asarray(y - np.interp(x, ox[edge], oy[edge], left=np.nan, right=np.nan))


def rescaled(accuracy: Numbers, scale: Literal["linear", "logit", "log_error"] = "linear") -> Floats:
    """Accuracies on the axis of a figure: as they are, log(p / (1 - p)), or -log(1 - p); 0 and 1 may become infinite."""
    p = np.asarray(accuracy, dtype=np.float64)
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise InputError("accuracies are shares from 0 to 1, found other values.")
    with np.errstate(divide="ignore"):
        if scale == "linear":
            return p
        if scale == "logit":
            return np.asarray(np.log(p) - np.log1p(-p))
        if scale == "log_error":
            return np.asarray(-np.log1p(-p))
    raise InputError(f"unknown scale {scale!r}: expected 'linear', 'logit' or 'log_error'.")
