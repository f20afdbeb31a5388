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

_STEPS, _CLOSE = 100, 1e-10  # of the fixed point of LogME
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
    network of its own. Where the responses tell the classes exactly, beta is bounded so that the residual is not below 1e-12 of y.
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
    """The mean over classes of the maximal log evidence, divided by the rows, of features [S, F] for labels one-hot [S, K]."""
    left, size, _ = np.linalg.svd(features, full_matrices=False)
    variance = size**2
    return float(np.mean([_log_evidence(variance, left.T @ y, y, features.shape[1]) for y in members.T]))


def _log_evidence(variance: Floats, along: Floats, y: Floats, width: int) -> float:
    """MacKay's fixed point: alpha = gamma / |w|^2, beta = (n - gamma) / |F w - y|^2, gamma = sum_i beta s_i / (alpha + beta s_i)."""
    rows, whole = len(y), float(y @ y)
    outside = max(whole - float(along @ along), 0.0)  # of y, what no w reaches
    alpha = beta = 1.0
    for _ in range(_STEPS):
        shrink = alpha / (alpha + beta * variance)
        gamma = float((1 - shrink).sum())
        weight = float(((1 - shrink) ** 2 * along**2 / np.maximum(variance, np.finfo(float).tiny)).sum())
        residual = max(outside + float((shrink**2 * along**2).sum()), _TINY * whole)
        before = alpha / beta
        alpha, beta = gamma / max(weight, _TINY), max(rows - gamma, _TINY) / residual
        if abs(alpha / beta - before) <= _CLOSE * before:
            break
    curved = alpha + beta * variance
    shrink = alpha / curved
    weight = float(((1 - shrink) ** 2 * along**2 / np.maximum(variance, np.finfo(float).tiny)).sum())
    residual = max(outside + float((shrink**2 * along**2).sum()), _TINY * whole)
    logs = float(np.log(curved).sum()) + (width - len(variance)) * math.log(alpha)
    return (
        0.5
        * (width * math.log(alpha) + rows * math.log(beta) - beta * residual - alpha * weight - logs - rows * math.log(2 * math.pi))
        / rows
    )


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax: Floats = raised / raised.sum(axis=1, keepdims=True)
    return softmax


def _one_hot(evidence: Evidence) -> Floats:
    return np.eye(int(evidence.labels.max()) + 1)[evidence.labels]
