"""What tasks share, in bits of their parameters: p(phi | theta) is narrower than p(phi), and tasks are independent given theta.

A task has parameters phi; theta is what the tasks of a family have in common. If phi_1, phi_2 are independent given theta and not
otherwise, then H(phi | theta) < H(phi): knowing theta leaves less of a task to be learned. Where H(phi | theta) is the least possible (all
tasks of a family alike), there is nothing left to adapt. Reference: Finn, CS 330 (Stanford), lecture on meta-learning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from fewtune.errors import InputError
from fewtune.statistics.sample import Floats, Numbers


def differential_entropy(samples: Numbers, neighbours: int = 3) -> float:
    """H of the density that `samples` [N, d] come from, in nats: psi(N) - psi(k) + log V_d + d / N sum_i log r_i, r_i the distance of
    sample i from its k-th neighbour, V_d the volume of the unit ball. -inf where samples are repeated (no density).

    Reference: Kozachenko, Leonenko, 1987. Raises InputError for fewer than k + 1 samples.
    """
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 2 or len(x) <= neighbours or neighbours < 1 or not np.isfinite(x).all():
        raise InputError(f"expected finite samples [N, d], N above the {neighbours} neighbours, found shape {x.shape}.")
    n, d = x.shape
    distance = cKDTree(x).query(x, k=neighbours + 1)[0][:, -1]
    if (distance == 0).any():
        return -math.inf
    ball = d / 2 * math.log(math.pi) - float(gammaln(d / 2 + 1))
    return float(digamma(n) - digamma(neighbours) + ball + d * np.log(distance).mean())


@final
@dataclass(frozen=True)
class TaskEntropy:
    """`marginal` H(phi) and `given` H(phi | theta), in nats, and their difference `shared`, the information between phi and theta.
    `together`: the correlation of two tasks of a family; `together_given`: what is left of it once theta is taken away (about 0 where tasks
    are independent given theta)."""

    marginal: float
    given: float
    together: float
    together_given: float

    @property
    def shared(self) -> float:
        return self.marginal - self.given


def task_entropy(parameters: Numbers, shared: Numbers, neighbours: int = 3) -> TaskEntropy:
    """From the parameters [F, T, d] of T tasks of each of F families, and what a family's tasks have in common [F, d]: their mean given
    theta.

    H(phi) is estimated on one task of each family, H(phi | theta) family by family. Correlations are means over the coordinates of
    (mean over pairs of tasks of a family of the product of their deviations) / variance. Raises InputError for other shapes, and for
    fewer than 5 families or tasks.
    """
    phi, theta = np.asarray(parameters, dtype=np.float64), np.asarray(shared, dtype=np.float64)
    if not np.isfinite(theta).all():
        raise InputError("what families share is given as finite numbers, found NaN or infinite ones.")
    if phi.ndim != 3 or theta.shape != (phi.shape[0], phi.shape[2]) or min(phi.shape[:2]) <= max(neighbours, 4):
        raise InputError(f"expected parameters [F, T, d] and shared [F, d], F and T at least 5, found {phi.shape} and {theta.shape}.")
    given = float(np.mean([differential_entropy(one, neighbours) for one in phi]))
    marginal = differential_entropy(phi[:, 0], neighbours)
    return TaskEntropy(marginal, given, _together(phi - phi.mean((0, 1))), _together(phi - theta[:, None]))


def _together(off: Floats) -> float:
    tasks = off.shape[1]
    pairs = (off.sum(1) ** 2 - (off**2).sum(1)) / (tasks * (tasks - 1))
    variance = (off**2).mean((0, 1))
    return float((pairs.mean(0)[variance > 0] / variance[variance > 0]).mean()) if (variance > 0).any() else 0.0
