"""Transferability from what a candidate's classes say of the target's support: LEEP, LogME, H-score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from fewtune.errors import InputError
from fewtune.tasks.selection.evidence import Evidence, Floats
from fewtune.tasks.selection.moments import covariance, moments_of
from fewtune.tasks.selection.score import responses
from fewtune.tasks.task import Tasks

_REACH, _GRID, _STEPS = math.log(1e12), 97, 60  # how far alpha / beta of LogME goes around the greatest variance, and how it is searched
_TINY = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class Leep:
    """The log-likelihood of the target's labels when they are read off the candidate's classes: the mean over the support of
    log sum_z P(y | z) theta_z(x), theta(x) = softmax(temperature x responses), P(y, z) = the mean of theta_z(x) over rows of class y / S.

    In nats, at most 0. Reference: Nguyen et al., "LEEP", ICML 2020. Departs: theta is not the output of a network that was trained on
    the candidate, but that of the nearest class mean on frozen features (`responses`).
    """

    temperature: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"expected a temperature above 0, found {self.temperature}.")

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        members = _one_hot(evidence)
        return np.array([leep(_softmax(self.temperature * one), members) for one in responses(tasks, evidence)])


@final
@dataclass(frozen=True, kw_only=True)
class LogMe:
    """The logarithm of the evidence that a Bayesian linear model of the responses gives the labels, a row and class: the maximum over
    alpha, beta of log p(y | F, alpha, beta), w ~ N(0, 1/alpha), y ~ N(F w, 1/beta), y one-hot, F = the responses [S, ways].

    Reference: You et al., "LogME", ICML 2021. Departs: F is the candidate's class-mean responses (`responses`), not the features of a
    network of its own. Where the responses tell the classes exactly there is no maximum: alpha / beta stays within 1e-12 and 1e12 of the
    greatest eigenvalue of F F^T.
    """

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        members = _one_hot(evidence)
        return np.array([log_evidence(one, members) for one in responses(tasks, evidence)])


@final
@dataclass(frozen=True, kw_only=True)
class HScore:
    """tr(cov(f)^-1 cov(E[f | y])): how much of the variance of the responses f is between the target's classes.

    `shrunk`: cov(f) shrunk by Ledoit and Wolf's delta and cov(E[f | y]) multiplied by 1 - delta; without, the pseudo-inverse. In
    [0, min(ways, classes - 1)]. Reference: Bao et al., "An information-theoretic approach to transferability", ICIP 2019; Ibrahim et al.,
    "Newer is not always better", 2022 (shrunk). Departs: f is the candidate's class-mean responses (`responses`), not the features of a
    network of its own; unshrunk, directions below 1e-10 of the greatest variance count as none.
    """

    shrunk: bool = True

    def score(self, tasks: Tasks, evidence: Evidence) -> Floats:
        members = _one_hot(evidence)
        return np.array([h_score(one, members, shrunk=self.shrunk) for one in responses(tasks, evidence)])


def leep(theta: Floats, members: Floats) -> float:
    """LEEP of probabilities [S, Z] for labels one-hot [S, K]."""
    joint = members.T @ theta / len(theta)
    given = joint / np.maximum(joint.sum(axis=0), _TINY)  # P(y | z) [K, Z]
    likely = ((theta @ given.T) * members).sum(axis=1)
    return float(np.log(np.maximum(likely, np.finfo(np.float64).tiny)).mean())


def h_score(features: Floats, members: Floats, *, shrunk: bool) -> float:
    """The H-score of features [S, F] for labels one-hot [S, K]."""
    within, shrinkage = covariance(moments_of(features - features.mean(axis=0)))
    if np.trace(within) <= _TINY * np.square(features).mean():
        return 0.0
    means = (members / members.sum(axis=0)).T @ (features - features.mean(axis=0))
    between = (means.T * members.mean(axis=0)) @ means
    if not shrunk:
        return float(np.trace(np.linalg.pinv(within, rcond=1e-10, hermitian=True) @ between))
    spread = np.trace(within) / len(within)
    whole = (1 - shrinkage) * within + max(shrinkage, _TINY) * spread * np.eye(len(within))
    return float((1 - shrinkage) * np.trace(np.linalg.solve(whole, between)))


def log_evidence(features: Floats, members: Floats) -> float:
    """The mean over classes of the maximal log evidence, divided by the rows, of features [n, F] for labels one-hot [n, K].

    With r = alpha / beta and s, u the eigenvalues and vectors of F F^T, the best beta is n / q(r), q = sum_i (u_i . y)^2 r / (r + s_i) +
    what of y lies outside of them, and what is left to maximise is -(log 2 pi + 1 + log q / n) / 2 - sum_i log(1 + s_i / r) / 2n. The
    best r of a grid is refined between its neighbours; the authors' fixed point finds the same, but does not end where F says nothing.
    """
    left, size, _ = np.linalg.svd(features, full_matrices=False)
    variance = size[:, None] ** 2
    along = (left.T @ members) ** 2
    outside = np.maximum((members**2).sum(axis=0) - along.sum(axis=0), 0.0)
    rows = len(features)

    def value(log_ratio: Floats) -> Floats:
        """[..., K] at logarithms of r [..., K]."""
        share = 1 / (1 + variance * np.exp(-log_ratio)[..., None, :])  # r / (r + s) [..., F, K]
        left_over = np.maximum(outside + (along * share).sum(axis=-2), np.finfo(np.float64).tiny)
        found: Floats = 0.5 * (np.log(share).sum(axis=-2) / rows - np.log(2 * np.pi * left_over / rows) - 1)
        return found

    middle = math.log(variance.max()) if variance.max() > 0 else 0.0
    grid = np.repeat(np.linspace(middle - _REACH, middle + _REACH, _GRID)[:, None], members.shape[1], axis=1)
    best = np.argmax(value(grid), axis=0)
    low, high = grid[np.maximum(best - 1, 0), 0], grid[np.minimum(best + 1, _GRID - 1), 0]
    for _ in range(_STEPS):
        third = (high - low) / 3
        falls = value(low + third) > value(high - third)
        low, high = np.where(falls, low, low + third), np.where(falls, high - third, high)
    return float(value((low + high) / 2).mean())


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax: Floats = raised / raised.sum(axis=1, keepdims=True)
    return softmax


def _one_hot(evidence: Evidence) -> Floats:
    return np.eye(int(evidence.labels.max()) + 1)[evidence.labels]
