"""Calibration: one temperature fitted on held-out answers, and how far probabilities are from the share of right answers.

Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats, Integers, positive
from fewtune.statistics.special import log_softmax

COLDEST, HOTTEST = 1e-4, 1e4  # heads differ in the scale of their logits by as much as this


@final
@dataclass(frozen=True)
class UsualTemperature:
    """What is known of a temperature before any answer is seen: log T is normal around log `centre`, with standard deviation `spread`."""

    centre: float
    spread: float

    def __post_init__(self) -> None:
        positive(self.centre, "centre")
        positive(self.spread, "spread")


def fit_temperature(
    logits: npt.ArrayLike, labels: npt.ArrayLike, smoothing: float | None = None, *, usual: UsualTemperature | None = None, items: int = 0
) -> float:
    """The temperature T in [1e-4, 1e4] for which softmax(logits / T) has the least average negative log-likelihood.

    `logits` [N, K] of held-out answers (-inf pads absent classes) and `labels` [N] in 0..K-1.
    `smoothing` s moves that share of each target evenly to the classes present. None means 1 / (N + 2), as Platt (1999) has it: when
    every held-out answer is right, the plain likelihood (s = 0) would make every probability 1, and N right answers do not show that.
    The search is over log T, where the objective has one valley. Logits that carry no information give T = 1.

    `usual`: the log density of log T is added to the log-likelihood of `items` answers (0: N): fewer than N where the same items were
    answered several times. Few answers then give about the usual temperature, many give their own.
    """
    if items < 0:
        raise ValueError(f"expected at least 0 items, found {items}.")
    z, y = _answers(logits, labels)
    share = 1 / (len(z) + 2) if smoothing is None else smoothing
    if not 0 <= share < 1:
        raise ValueError(f"expected smoothing of at least 0 and below 1, found {share}.")
    present = np.isfinite(z)
    targets = present * (share / present.sum(1, keepdims=True))
    targets[np.arange(len(z)), y] += 1 - share

    def loss(log_temperature: float) -> float:
        logs = log_softmax(z / math.exp(log_temperature), axis=1)
        return -float(np.mean(np.sum(targets * np.where(present, logs, 0.0), axis=1))) + far(log_temperature)

    def far(log_temperature: float) -> float:
        """The penalty for each item for being far from the usual temperature."""
        if usual is None:
            return 0.0
        return ((log_temperature - math.log(usual.centre)) / usual.spread) ** 2 / (2 * (items or len(z)))

    from scipy.optimize import minimize_scalar  # takes long to import

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x)) if float(found.fun) < loss(0.0) - 1e-12 else 1.0


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities [N, K] from logits [N, K]; classes with logit -inf get 0."""
    found: Floats = np.exp(log_softmax(_logits(logits) / positive(temperature, "temperature"), axis=1))
    return found


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15) -> float:
    """The mean gap |accuracy - confidence| over `bins` equal bins of the highest probability, weighted by their items, in [0, 1]."""
    p, y = _forecast(probabilities, labels)
    if bins < 1:
        raise ValueError(f"expected at least 1 bin, found {bins}.")
    confidence, right = p.max(1), p.argmax(1) == y
    # Bins are (low, high], so that a confidence of exactly 1 lies in the last.
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def _logits(logits: npt.ArrayLike) -> Floats:
    z: Floats = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.size == 0:
        raise ValueError(f"expected logits [N, K], found shape {z.shape}.")
    if np.isnan(z).any() or np.isposinf(z).any() or np.isneginf(z).all(1).any():
        raise ValueError("expected logits that are finite, or -inf for absent classes; found NaN, +inf or a row of -inf alone.")
    return z


def _labels(labels: npt.ArrayLike, shape: tuple[int, ...]) -> Integers:
    y = np.asarray(labels)
    n, k = shape
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"expected {n} integer labels, found {y.dtype} of shape {y.shape}.")
    if y.min() < 0 or y.max() >= k:
        raise ValueError(f"expected labels between 0 and {k - 1}, found {y.min()} to {y.max()}.")
    return y.astype(np.int64)


def _answers(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Integers]:
    z = _logits(logits)
    y = _labels(labels, z.shape)
    absent = int(np.isneginf(z[np.arange(len(z)), y]).sum())
    if absent:
        raise ValueError(f"expected labels of classes that are present, found {absent} whose logit is -inf.")
    return z, y


def _forecast(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Integers]:
    p: Floats = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.size == 0:
        raise ValueError(f"expected probabilities [N, K], found shape {p.shape}.")
    if not (np.all(p >= 0) and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise ValueError("expected probabilities that are at least 0 and sum to 1 in each row, found others.")
    return p, _labels(labels, p.shape)
