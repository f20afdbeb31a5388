"""The gain of the best of several rivals: against hand calculation, scipy and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

from fewtune.statistics import evidence_of_classes, evidence_of_rows, expected_best, joined_evidence, paired_gain, soft_correctness
from fewtune.statistics.evidence import SHARED

FROZEN = np.array([[1, 0, 0, 1, 0, 1], [1, 0, 1, 0, 0, 1]], dtype=float)
BETTER = np.array([[1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0]], dtype=float)


def test_soft_correctness_by_hand() -> None:
    p = np.array([[[0.5, 0.25, 0.25], [0.2, 0.4, 0.4], [0.1, 0.8, 0.1]]])
    found = soft_correctness(np.log(p), np.array([0, 0, 1]))  # margins ln 2, -ln 2, ln 8; their median size is ln 2
    assert found == pytest.approx(np.array([[1, 0, 1]]), abs=1e-12)
    halves = soft_correctness(np.log(p), np.array([0, 1, 1]))  # ln 2, 0, ln 8
    assert halves == pytest.approx(np.array([[1, 0.5, 1]]))
    less = soft_correctness(np.log([[[0.6, 0.4], [0.9, 0.1], [0.99, 0.01], [np.nan, np.nan]]]), np.array([0, 0, 0, 1]))
    assert less[0, 0] == pytest.approx((1 + math.log(1.5) / math.log(9)) / 2) and math.isnan(less[0, 3])


def test_soft_correctness_does_not_see_boldness() -> None:
    """A temperature changes log-losses but not this; above 1/2 is right, at any scale."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 40, 5)), rng.integers(5, size=40)
    found = soft_correctness(log_softmax(logits, axis=-1), labels)
    assert soft_correctness(log_softmax(logits * 7, axis=-1), labels) == pytest.approx(found)
    assert np.array_equal(found > 0.5, logits.argmax(2) == labels)
    assert np.array_equal(soft_correctness(np.array([[[0.0, -np.inf]] * 2]), np.array([0, 1])), [[1, 0]])


def test_rows_by_hand() -> None:
    found = evidence_of_rows(FROZEN, {"rival": BETTER})
    d = np.array([0, 1, 0.5, 0.5, 0, -0.5])
    assert found.mean[0] == pytest.approx(0.25)
    assert found.covariance[0, 0] == pytest.approx((1 + SHARED) * (((d - 0.25) ** 2).sum() + 1) / 30)
    assert (found.names, found.rows, found.classes, found.freedom[0]) == (("rival",), 6, 0, 5)


def test_rows_that_a_side_never_answered_are_left_out() -> None:
    frozen, rival = np.array([0, 1, np.nan, 0, 1]), np.array([1, 1, 1, np.nan, 0])
    found = evidence_of_rows(frozen, {"rival": rival})
    assert (found.rows, found.mean[0]) == (3, 0)
    twice = evidence_of_rows(np.stack([frozen, np.full(5, np.nan)]), {"rival": rival})
    assert twice.mean == pytest.approx(found.mean)


def test_one_rival_is_the_t_test() -> None:
    found = evidence_of_rows(FROZEN, {"rival": BETTER})
    gain, t = paired_gain(found), 0.25 / found.error[0]
    assert gain.p == pytest.approx(stats.t.sf(t, 5), rel=1e-9)
    assert gain.low == pytest.approx(0.25 - stats.t.ppf(0.95, 5) * found.error[0], rel=1e-9)
    assert not gain.kept


def test_several_rivals_are_dunnetts() -> None:
    """Three rivals with correlated gains: p is that of the largest of a multivariate t."""
    rng = np.random.default_rng(0)
    frozen = (rng.random(60) < 0.6).astype(float)
    rivals = {
        str(i): np.where(rng.random(60) < 0.7, np.minimum(1, frozen + (rng.random(60) < 0.2)), rng.random(60) < 0.6) for i in range(3)
    }
    found = evidence_of_rows(frozen, rivals)
    gain = paired_gain(found)
    t = found.mean / found.error
    shape = found.covariance / np.outer(found.error, found.error)
    inside = stats.multivariate_t(shape=shape, df=59).cdf(np.full(3, t.max()), random_state=0)
    assert gain.side == str(t.argmax())
    assert gain.p == pytest.approx(1 - inside, abs=0.004)
    assert (gain.low > 0) == (gain.p < 0.05)


def test_rivals_that_answer_alike_cost_nothing() -> None:
    one = paired_gain(evidence_of_rows(FROZEN, {"a": BETTER}))
    two = paired_gain(evidence_of_rows(FROZEN, {"a": BETTER, "b": BETTER}))
    assert two.p == pytest.approx(one.p, abs=0.01) and two.side == "a"


def test_classes_by_hand() -> None:
    runs = np.array([[0.1, 0.0, 0.2], [0.3, 0.0, 0.0]])
    found = evidence_of_classes({"rival": runs}, ways=4)
    by_class = runs.mean(0)
    between, of_runs = by_class.var(ddof=1) * (1 / 3 + 1 / 4), runs.mean(1).var(ddof=1) / 2
    assert found.mean[0] == pytest.approx(0.1)
    assert found.covariance[0, 0] == pytest.approx(between + of_runs)
    assert found.freedom[0] == pytest.approx((between + of_runs) ** 2 / (between**2 / 2 + of_runs**2))
    assert math.isnan(found.own[0]) and found.classes == 3
    assert evidence_of_classes({"rival": by_class}, ways=4).covariance[0, 0] == pytest.approx(between)


def test_joined_by_hand() -> None:
    rows = evidence_of_rows(FROZEN, {"a": BETTER, "b": FROZEN})
    classes = evidence_of_classes({"a": np.array([0.1, 0.3, 0.2])}, ways=2)
    found = joined_evidence(rows, classes)
    v, r = rows.covariance[0, 0], classes.covariance[0, 0]  # 0.25 and 0.2: they agree
    assert found.mean[0] == pytest.approx((0.25 / v + 0.2 / r) / (1 / v + 1 / r))
    assert found.covariance[0, 0] == pytest.approx(1 / (1 / v + 1 / r))
    assert found.mean[1] == rows.mean[1] and found.covariance[1, 1] == rows.covariance[1, 1]
    assert found.covariance[0, 1] == pytest.approx(rows.covariance[0, 1] * r / (v + r))
    assert found.own == pytest.approx(rows.mean) and (found.rows, found.classes) == (6, 3)


def test_classes_that_disagree_lose_their_weight() -> None:
    rows = evidence_of_rows(np.tile([1.0, 0.0], 100), {"a": np.tile([0.0, 1.0, 1.0, 0.0], 50)})
    far = joined_evidence(rows, evidence_of_classes({"a": np.array([0.9, 0.91, 0.92])}, ways=2))
    v, apart = rows.covariance[0, 0], 0.91 - rows.mean[0]
    assert far.mean[0] == pytest.approx(rows.mean[0] + v / apart**2 * apart)


def test_expected_best_by_hand() -> None:
    rows = evidence_of_rows(FROZEN, {"a": BETTER})
    found = expected_best(rows, prior=0.1)
    assert found.side == "a" and found.gain == pytest.approx(0.25 * 0.01 / (0.01 + rows.covariance[0, 0]))
    assert expected_best(evidence_of_rows(FROZEN, {"a": FROZEN})).side is None
    assert expected_best(rows, prior=0.1, least=0.2).side is None


def test_bad_input_is_said() -> None:
    with pytest.raises(ValueError, match="at least one rival"):
        evidence_of_rows(FROZEN, {})
    with pytest.raises(ValueError, match="same rows"):
        evidence_of_rows(FROZEN, {"a": [1.0, 0.0]})
    with pytest.raises(ValueError, match="between 0 and 1"):
        evidence_of_rows(FROZEN, {"a": BETTER * 2})
    with pytest.raises(ValueError, match="at least 2 rows"):
        evidence_of_rows([1.0, np.nan], {"a": [1.0, 1.0]})
    with pytest.raises(ValueError, match="2 or more classes"):
        evidence_of_classes({"a": [0.1]}, ways=2)
    with pytest.raises(ValueError, match="at least 1 class"):
        evidence_of_classes({"a": [0.1, 0.2]}, ways=0)
