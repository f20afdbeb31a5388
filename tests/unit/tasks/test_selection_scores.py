"""Scores of candidates against definitions written out: by hand, by SciPy's optimiser, by explicit maps and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from fewtune.errors import InputError
from fewtune.tasks.selection import (
    Evidence,
    GradientAffinity,
    HScore,
    Leep,
    LogMe,
    MeanCosine,
    NearestClasses,
    Ranked,
    TagAffinity,
)
from fewtune.tasks.selection.evidence import Floats
from fewtune.tasks.selection.score import responses
from fewtune.tasks.selection.transferability import h_score, leep, log_evidence
from fewtune.tasks.task import Tasks
from tests.unit.tasks.selection_grounds import WIDTH, ground


def cosine(a: Floats, b: Floats) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def class_means(tasks: Tasks, evidence: Evidence, t: int) -> list[Floats]:
    return [evidence.read(rows).mean(axis=0) for rows in tasks[t].rows]


def support(evidence: Evidence) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return evidence.target.double().numpy(), evidence.target_label.numpy()


def test_cosines_of_means() -> None:
    tasks, evidence = ground()
    x, y = support(evidence)
    means, nearest = MeanCosine().score(tasks, evidence), NearestClasses().score(tasks, evidence)
    for t in range(len(tasks)):
        mine = class_means(tasks, evidence, t)
        assert means[t] == pytest.approx(cosine(np.concatenate([evidence.read(r) for r in tasks[t].rows]).mean(0), x.mean(0)))
        assert nearest[t] == pytest.approx(np.mean([max(cosine(x[y == c].mean(0), m) for m in mine) for c in range(4)]))


def test_responses_are_cosines_with_class_means() -> None:
    tasks, evidence = ground()
    x, _ = support(evidence)
    for t, found in enumerate(responses(tasks, evidence)):
        np.testing.assert_allclose(found, [[cosine(row, m) for m in class_means(tasks, evidence, t)] for row in x], rtol=1e-10)


def test_leep_by_hand() -> None:
    """theta = (.5 .5), (.9 .1), (.2 .8); y = 0 0 1. P(z) = 1.6/3, 1.4/3; P(0 | z) = 1.4/1.6, .6/1.4; P(1 | z) = .2/1.6, .8/1.4."""
    theta, members = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]), np.array([[1.0, 0], [1, 0], [0, 1]])
    expected = [0.5 * 1.4 / 1.6 + 0.5 * 0.6 / 1.4, 0.9 * 1.4 / 1.6 + 0.1 * 0.6 / 1.4, 0.2 * 0.2 / 1.6 + 0.8 * 0.8 / 1.4]
    assert leep(theta, members) == pytest.approx(np.log(expected).mean())
    assert leep(np.eye(3), np.eye(3)) == 0  # the classes are told exactly
    assert leep(np.full((4, 2), 0.5), np.repeat(np.eye(2), 2, axis=0)) == pytest.approx(-math.log(2))  # and not at all


def test_leep_of_candidates() -> None:
    tasks, evidence = ground()
    y = support(evidence)[1]
    found = Leep(temperature=5).score(tasks, evidence)
    for t, one in enumerate(responses(tasks, evidence)):
        theta = np.exp(5 * one) / np.exp(5 * one).sum(axis=1, keepdims=True)
        given = np.array([[theta[y == c, z].sum() / theta[:, z].sum() for z in range(theta.shape[1])] for c in range(4)])
        assert found[t] == pytest.approx(np.mean([math.log(given[c] @ theta[i]) for i, c in enumerate(y)]))


@pytest.mark.parametrize(("rows", "width"), [(12, 4), (5, 9), (30, 2)])
def test_log_evidence_is_the_greatest_there_is(rows: int, width: int) -> None:
    random = np.random.default_rng(rows)
    f = random.normal(size=(rows, width))
    y = (f @ random.normal(size=width) + random.normal(size=rows) > 0).astype(float)

    def less(logs: Floats) -> float:
        alpha, beta = np.exp(logs)
        return -float(multivariate_normal(np.zeros(rows), f @ f.T / alpha + np.eye(rows) / beta).logpdf(y))

    best = min(
        minimize(less, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun for start in ([0.0, 0.0], [2.0, 1.0])
    )
    assert log_evidence(f, y[:, None]) == pytest.approx(-best / rows, abs=1e-6)


def test_log_evidence_of_candidates() -> None:
    tasks, evidence = ground()
    y = np.eye(4)[support(evidence)[1]]
    found = LogMe().score(tasks, evidence)
    assert found == pytest.approx([np.mean([log_evidence(one, y[:, [c]]) for c in range(4)]) for one in responses(tasks, evidence)])
    exact = log_evidence(np.eye(6), np.eye(6))  # as many responses as rows
    assert math.isfinite(exact) and math.isfinite(log_evidence(np.zeros((6, 2)), np.eye(6)))


def test_h_score_by_hand() -> None:
    """Features (0, 0), (2, 0), (0, 1), (2, 1); classes by the second: cov = diag(1, 1/4), between = diag(0, 1/4)."""
    f = np.array([[0.0, 0], [2, 0], [0, 1], [2, 1]])
    assert h_score(f, np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), shrunk=False) == pytest.approx(1)
    assert h_score(f, np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]]), shrunk=False) == pytest.approx(0)  # means agree
    assert h_score(np.ones((4, 2)), np.eye(4), shrunk=True) == 0


@pytest.mark.parametrize("shrunk", [True, False])
def test_h_score_of_candidates(shrunk: bool) -> None:
    tasks, evidence = ground()
    y = support(evidence)[1]
    found = HScore(shrunk=shrunk).score(tasks, evidence)
    for t, f in enumerate(responses(tasks, evidence)):
        between = np.cov(np.stack([f[y == c].mean(axis=0) for c in y]), rowvar=False, bias=True)
        fitted = LedoitWolf().fit(f)
        whole, share = (fitted.covariance_, 1 - fitted.shrinkage_) if shrunk else (np.cov(f, rowvar=False, bias=True), 1.0)
        assert found[t] == pytest.approx(share * np.trace(np.linalg.pinv(whole) @ between), rel=1e-6)


def map_loss(w: Floats, x: Floats, y: np.ndarray[tuple[int], np.dtype[np.int64]], temperature: float) -> float:
    """Cross-entropy of W x by cosine to the class means of the unit vectors W x."""
    z = x @ w.T
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    means = np.stack([z[y == c].mean(axis=0) for c in range(y.max() + 1)])
    logits = temperature * z @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]))


def map_gradient(x: Floats, y: np.ndarray[tuple[int], np.dtype[np.int64]], temperature: float) -> Floats:
    """Central differences of every entry of W at the identity."""
    found = np.zeros((WIDTH, WIDTH))
    for i, j in np.ndindex(WIDTH, WIDTH):
        step = np.zeros_like(found)
        step[i, j] = 1e-5
        up, down = map_loss(np.eye(WIDTH) + step, x, y, temperature), map_loss(np.eye(WIDTH) - step, x, y, temperature)
        found[i, j] = (up - down) / 2e-5
    return found


def test_affinities_are_those_of_an_explicit_map() -> None:
    tasks, evidence = ground(count=2)
    x, y = support(evidence)
    target = map_gradient(x, y, 4.0)
    cosines = GradientAffinity(temperature=4).score(tasks, evidence)
    shares = TagAffinity(rate=0.7, temperature=4).score(tasks, evidence)
    for t, task in enumerate(tasks):
        rows, labels = evidence.read(np.concatenate(task.rows)), np.repeat(np.arange(len(task.rows)), [len(r) for r in task.rows])
        mine = map_gradient(rows, labels, 4.0)
        assert cosines[t] == pytest.approx(cosine(mine.ravel(), target.ravel()), abs=1e-7)
        after = map_loss(np.eye(WIDTH) - 0.7 * mine, x, y, 4.0)
        assert shares[t] == pytest.approx(1 - after / map_loss(np.eye(WIDTH), x, y, 4.0), abs=1e-7)


def test_the_target_itself_is_the_best_source() -> None:
    """A candidate of the target's own rows has a cosine of 1, and helps."""
    tasks, evidence = ground()
    itself = Evidence(
        evidence.features, evidence.features(np.concatenate(tasks[2].rows)), evidence.target_label.new_tensor(np.repeat(range(4), 8))
    )
    assert GradientAffinity().score(tasks, itself)[2] == pytest.approx(1)
    assert TagAffinity().score(tasks, itself)[2] > 0
    assert MeanCosine().score(tasks, itself)[2] == pytest.approx(1) and NearestClasses().score(tasks, itself)[2] == pytest.approx(1)


def test_the_best_are_taken() -> None:
    tasks, evidence = ground()
    score = LogMe().score(tasks, evidence)
    trace = Ranked(score=LogMe(), most=3).trace(tasks, evidence)
    assert trace.column("candidate").tolist() == np.argsort(-score, kind="stable").tolist()
    assert trace.taken.tolist() == np.argsort(-score, kind="stable")[:3].tolist()
    assert len(Ranked(score=LogMe(), most=0).select(tasks, evidence)) == len(tasks)


@pytest.mark.parametrize(
    "wrong", [lambda: Leep(temperature=0), lambda: TagAffinity(rate=-1), lambda: GradientAffinity(temperature=math.inf)]
)
def test_settings_that_make_no_sense(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="above 0"):
        wrong()
