"""Two decisions from the same evidence: is one of several rivals better than the current model, and which one is best on average?

Reference: Dunnett, "A multiple comparison procedure for comparing several treatments with a control", JASA 50, 1955; Efron and Morris,
"Stein's estimation rule and its competitors", JASA 68, 1973 (shrinkage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.statistics.evidence import Evidence
from fewtune.statistics.sample import Floats, fraction, positive
from fewtune.statistics.special import chdtri, stdtr, stdtrit

SCALES = 200  # quantiles of the scale that several t share
DRAWS = 10_000  # of the largest of several t: p at .05 is off by .002
PRIOR = 0.03  # standard deviation of the gains of rivals before anything is seen, in shares (this and the next: benchmarks/guard.py)
LEAST = 0.01  # what a rival must be expected to gain: the frozen side is quicker to train and cannot lose


@final
@dataclass(frozen=True)
class Gain:
    """What is shown of a rival, `side`. `mean`: its gain (.05 is 5 points). `low`: a bound below it that holds for all rivals at
    once with probability `level`. `p`: one-sided, of "no rival gains", adjusted for their number. `own`: the gain on the own rows alone
    (NaN: none asked). `rows` and `classes`: how many of each were asked.
    """

    side: str
    mean: float
    low: float
    p: float
    level: float
    own: float
    rows: int
    classes: int

    @property
    def kept(self) -> bool:
        """Whether a gain is shown: the bound is above 0, and the gain on the own rows, if they were asked, is not 0 or less."""
        return self.low > 0 and not self.own <= 0


def paired_gain(evidence: Evidence, level: float = 0.95, *, side: str | None = None) -> Gain:
    """The gain of a rival, by default the most certain one (smallest p alone), tested against "no rival gains" at 1 - level.

    A lone rival has a one-sided t test. Of several, p is the chance that the largest of their t values, which are correlated as the gains
    are (Dunnett) and have this rival's degrees of freedom, is as large as its own; it is drawn 10,000 times with a fixed seed. Rivals that
    answer alike cost little. Raises ValueError for a side that the evidence does not have.
    """
    level = fraction(level)
    error = evidence.error
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 0, evidence.mean / error, 0.0)
    each: Floats = np.maximum(evidence.freedom, 1.0)
    chance: Floats = stdtr(each, -t)
    place = int(np.argmin(chance)) if side is None else evidence.names.index(side)
    freedom, alone = float(each[place]), float(chance[place])
    p, quantile = alone, float(stdtrit(freedom, level))
    if len(t) > 1:
        together, quantile = _largest_of(evidence.covariance, freedom, float(t[place]), level)
        p = max(alone, together)
    mean = float(evidence.mean[place])
    return Gain(
        evidence.names[place],
        mean,
        mean - quantile * float(error[place]),
        p,
        level,
        float(evidence.own[place]),
        evidence.rows,
        evidence.classes,
    )


def _largest_of(covariance: Floats, freedom: float, t: float, level: float) -> tuple[float, float]:
    """The chance that the largest of M values of t with the correlations of a covariance [M, M] is t or more, and its `level` quantile.

    The normal parts are drawn; the scale they share, sqrt(chi^2 / freedom), is averaged over its quantiles.
    """
    size = np.sqrt(np.maximum(covariance.diagonal(), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(size)))
    largest = np.sort((normal @ (vectors * np.sqrt(np.maximum(values, 0.0))).T).max(1))
    scale = np.sqrt(chdtri(freedom, (np.arange(SCALES) + 0.5) / SCALES) / freedom)

    def below(value: float) -> float:
        return float(np.searchsorted(largest, value * scale).mean()) / DRAWS

    low, high = -1e4, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < level else (low, middle)
    return 1 - below(t), high


@final
@dataclass(frozen=True)
class Best:
    """The side with the largest expected gain: `side` (None: the frozen one), its expected `gain` after shrinkage (0 for the frozen side),
    and all rivals' in `gains`, in the order of the evidence.
    """

    side: str | None
    gain: float
    gains: tuple[float, ...]


def expected_best(evidence: Evidence, prior: float = PRIOR, least: float = LEAST) -> Best:
    """The side with the largest expected gain, or the frozen one where no rival is expected to gain more than `least` (a share: .01 is 1
    point).

    Before anything is seen, gains of rivals are taken for normal around 0 with standard deviation `prior` and a correlation of a half;
    the expected gains are the means after the evidence, so an uncertain gain is shrunk towards 0. It loses less on average than
    `paired_gain`, which asks for proof, but it is more often wrong: it says which side to save, not whether a gain is shown.
    """
    prior = positive(prior, "prior standard deviation")
    before = prior**2 * (np.eye(len(evidence.names)) + 1) / 2
    gains: Floats = before @ np.linalg.solve(before + evidence.covariance, evidence.mean)
    best = int(np.argmax(gains))
    if gains[best] <= least:
        return Best(None, 0.0, tuple(gains.tolist()))
    return Best(evidence.names[best], float(gains[best]), tuple(gains.tolist()))
