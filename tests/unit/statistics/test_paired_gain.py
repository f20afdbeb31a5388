"""The gain of the best of several rivals: against hand calculation, scipy and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import log_softmax

from fewtune.statistics import evidence_of_classes, evidence_of_rows, expected_best, joined_evidence, paired_gain, soft_correctness
from fewtune.statistics.evidence import SHARED, UNKNOWN, Evidence
from fewtune.statistics.paired_gain import DRAWS

FROZEN = np.array([[1, 0, 0, 1, 0, 1], [1, 0, 1, 0, 0, 1]], dtype=float)
BETTER = np.array([[1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0]], dtype=float)


def test_soft_correctness_by_hand() -> None:
    """Eight answers: the two with the smallest margins are the quarter that counts in part, by their ranks 1/16 and 3/16."""
    right = np.array([0.55, 0.4, 0.7, 0.2, 0.9, 0.95, 0.05, 0.99])
    found = soft_correctness(np.log(np.stack([right, 1 - right], axis=1))[None], np.zeros(8, dtype=int))
    assert found == pytest.approx(np.array([[(1 + 1 / 4) / 2, (1 - 3 / 4) / 2, 1, 0, 1, 1, 0, 1]]))
    tie = soft_correctness(np.log([[[0.4, 0.4, 0.2], [0.8, 0.1, 0.1]]]), np.array([0, 0]))
    assert tie == pytest.approx(np.array([[0.5, 1]]))


def test_soft_correctness_ranks_all_repeats_together_and_skips_what_was_not_held_out() -> None:
    logs = np.log([[[0.6, 0.4], [np.nan, np.nan]], [[0.9, 0.1], [0.3, 0.7]]])
    found = soft_correctness(logs, np.array([0, 0]))  # three answers; the smallest margin has rank 1/6
    assert found == pytest.approx(np.array([[(1 + 4 / 6) / 2, np.nan], [1, 0]]), nan_ok=True)


def test_soft_correctness_does_not_see_boldness() -> None:
    """A temperature, and any change that keeps the order of the margins, changes log-losses but not this; above 1/2 is right."""
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
    assert found.covariance[0, 0] == pytest.approx((1 + UNKNOWN) * (((d - 0.25) ** 2).sum() + 1) / 30)
    assert (found.names, found.rows, found.classes, found.freedom[0]) == (("rival",), 6, 0, 5)


def test_rows_that_a_side_never_answered_are_left_out() -> None:
    frozen, rival = np.array([0, 1, np.nan, 0, 1]), np.array([1, 1, 1, np.nan, 0])
    found = evidence_of_rows(frozen, {"rival": rival})
    assert (found.rows, found.mean[0]) == (3, 0)
    nothing = np.full(5, np.nan)
    twice = evidence_of_rows(np.stack([frozen, nothing]), {"rival": np.stack([rival, nothing])})
    assert twice.mean == pytest.approx(found.mean)


def test_the_luck_of_folds_is_the_analysis_of_variance() -> None:
    """Two repeats of three unequal folds: the variance between training runs beyond that of the rows, by the textbook's sums."""
    rng = np.random.default_rng(3)
    folds = np.stack([rng.permutation(np.repeat([0, 1, 2], [4, 5, 6])) for _ in range(2)])
    rival = rng.random((2, 15)) * 0.3 + 0.35 * (folds == 0)
    frozen = np.full((2, 15), 0.4)
    excess, chance = [], []
    for x, fold in zip(rival - frozen, folds, strict=True):
        groups = [x[fold == f] for f in range(3)]
        between = sum(len(g) * (g.mean() - x.mean()) ** 2 for g in groups) / 2
        within = sum(((g - g.mean()) ** 2).sum() for g in groups) / 12
        assert between / within == pytest.approx(stats.f_oneway(*groups).statistic)
        excess.append((between - within) / ((15 - (16 + 25 + 36) / 15) / 2))
        chance.append(within / ((15 - (16 + 25 + 36) / 15) / 2))
    known, plain = evidence_of_rows(frozen, {"a": rival}, folds), evidence_of_rows(frozen, {"a": rival})
    rows = plain.covariance[0, 0] * (1 + SHARED) / (1 + UNKNOWN)
    luck = (np.mean(excess) + np.mean(chance) * math.sqrt(2 / 4)) / 6
    assert luck > 0.1 * rows
    assert known.covariance[0, 0] == pytest.approx(rows + luck)
    assert known.freedom[0] == pytest.approx((rows + luck) ** 2 / (rows**2 / 14 + luck**2 / 4))
    assert known.mean == plain.mean and plain.freedom[0] == 14


def test_folds_that_are_more_alike_than_chance_add_nothing() -> None:
    x, folds = np.tile([0.0, 1.0], 6), np.repeat(np.arange(6), 2)
    alike = evidence_of_rows(np.zeros(12), {"a": x}, folds)
    assert alike.covariance[0, 0] == pytest.approx((1 + SHARED) * (x.var() * 12 + 1) / (12 * 11))
    assert alike.freedom[0] == pytest.approx(11)


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
        str(i): np.where(rng.random(60) < 0.7, np.minimum(1, frozen + (rng.random(60) < 0.6)), rng.random(60) < 0.6) for i in range(3)
    }
    found = evidence_of_rows(frozen, rivals)
    gain = paired_gain(found)
    t = found.mean / found.error
    shape = found.covariance / np.outer(found.error, found.error)
    inside = stats.multivariate_t(shape=shape, df=59).cdf(np.full(3, t.max()), random_state=0)
    assert gain.side == str(t.argmax())
    assert 0.01 < gain.p < 0.2
    assert gain.p == pytest.approx(1 - inside, abs=4 * math.sqrt(inside * (1 - inside) / DRAWS))
    assert (gain.low > 0) == (gain.p < 0.05)


def test_rivals_that_answer_alike_cost_nothing() -> None:
    one = paired_gain(evidence_of_rows(FROZEN, {"a": BETTER}))
    two = paired_gain(evidence_of_rows(FROZEN, {"a": BETTER, "b": BETTER}))
    assert two.p == pytest.approx(one.p, abs=0.01) and two.side == "a"


def test_classes_by_hand() -> None:
    runs = np.array([[0.1, 0.0, 0.2], [0.3, 0.0, 0.12]])
    found = evidence_of_classes({"rival": runs}, ways=4)
    by_class, agreed = runs.mean(0), np.cov(*runs)[0, 1]
    between, of_runs = by_class.var(ddof=1) / 3 + agreed / 4, runs.mean(1).var(ddof=1) / 2
    assert 0 < agreed < by_class.var(ddof=1)
    assert found.mean[0] == pytest.approx(0.12)
    assert found.covariance[0, 0] == pytest.approx(between + of_runs)
    assert found.freedom[0] == pytest.approx((between + of_runs) ** 2 / (between**2 / 2 + of_runs**2))
    assert math.isnan(found.own[0]) and found.classes == 3


def test_one_run_takes_all_its_variance_for_that_of_the_classes() -> None:
    x = np.array([0.1, 0.0, 0.2, -0.1])
    one = evidence_of_classes({"rival": x}, ways=4)
    assert one.covariance[0, 0] == pytest.approx(x.var(ddof=1) * (1 / 4 + 1 / 4)) and one.freedom[0] == 3
    opposite = evidence_of_classes({"rival": [x, 0.1 - x]}, ways=4)  # what one run gains the other loses: the classes are all alike
    assert opposite.covariance[0, 0] == pytest.approx((x.mean() - (0.1 - x).mean()) ** 2 / 4, abs=1e-12)
    same = evidence_of_classes({"rival": [x, x]}, ways=4)
    assert same.covariance[0, 0] == pytest.approx(one.covariance[0, 0])


def test_three_runs_agree_by_their_mean_covariance() -> None:
    runs = np.random.default_rng(0).normal(size=(3, 8)) * 0.1 + np.linspace(-0.2, 0.2, 8)
    c = np.cov(runs)
    agreed = np.mean([c[0, 1], c[0, 2], c[1, 2]])
    expected = runs.mean(0).var(ddof=1) / 8 + agreed / 2 + runs.mean(1).var(ddof=1) / 3
    assert evidence_of_classes({"a": runs}, ways=2).covariance[0, 0] == pytest.approx(expected)


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
    with pytest.raises(ValueError, match="same rows"):
        evidence_of_rows(FROZEN, {"a": BETTER}, np.zeros(6))
    with pytest.raises(ValueError, match="between 0 and 1"):
        evidence_of_rows(FROZEN, {"a": BETTER * 2})
    with pytest.raises(ValueError, match="at least 2 rows"):
        evidence_of_rows([1.0, np.nan], {"a": [1.0, 1.0]})
    with pytest.raises(ValueError, match="2 or more classes"):
        evidence_of_classes({"a": [0.1]}, ways=2)
    with pytest.raises(ValueError, match="at least 1 class"):
        evidence_of_classes({"a": [0.1, 0.2]}, ways=0)


def kept(gain: float, rivals: int, rows: int = 64, folds_known: bool = True, draws: int = 300) -> float:
    """Share of simulated targets on which a gain is shown. Rows differ in difficulty; each training run is better or worse on all rows of
    its fold (sd 6 points), and the rows that all folds learn from make a rival better or worse everywhere (sd 3 points with 64 rows).
    """
    rng, times = np.random.default_rng(0), 0
    for _ in range(draws):
        easy = rng.uniform(0.3, 0.9, rows)
        folds = np.stack([rng.permutation(np.arange(rows) % 4) for _ in range(2)])
        frozen = (rng.random((2, rows)) < easy).astype(float)
        tuned = {}
        for i in range(rivals):
            luck = gain + rng.normal(0, 0.25 / math.sqrt(rows)) + rng.normal(0, 0.06, (2, 4))
            tuned[str(i)] = (rng.random((2, rows)) < easy + np.take_along_axis(luck, folds, axis=1)).astype(float)
        times += paired_gain(evidence_of_rows(frozen, tuned, folds if folds_known else None)).kept
    return times / draws


def test_no_gain_is_shown_once_in_twenty_and_a_large_one_always() -> None:
    surely = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert 0.005 < kept(0.0, 1) < surely
    assert 0.005 < kept(0.0, 4) < surely
    assert kept(0.0, 1, rows=400) < surely < kept(0.0, 1, rows=400, folds_known=False)
    assert kept(0.3, 1, draws=50) > 0.9


def test_the_bound_of_several_is_the_quantile_of_their_largest() -> None:
    """Four unrelated gains of one error, well known: the largest of four normals is below z with probability Phi(z)^4."""
    means = np.array([0.01, 0.03, 0.02, 0.0])
    found = Evidence(("a", "b", "c", "d"), means, np.eye(4) * 0.02**2, np.full(4, 1e6), 100, 0, means)
    gain = paired_gain(found)
    assert gain.side == "b" and gain.mean == 0.03
    assert gain.low == pytest.approx(0.03 - 0.02 * stats.norm.ppf(0.95**0.25), abs=0.001)
    assert gain.p == pytest.approx(1 - stats.norm.cdf(1.5) ** 4, abs=0.015)
    assert paired_gain(found, 0.5).low == pytest.approx(0.03 - 0.02 * stats.norm.ppf(0.5**0.25), abs=0.001)


def test_a_bound_has_the_degrees_of_freedom_of_its_own_rival() -> None:
    """Two unrelated gains, one with a variance from few runs: the quantiles of the largest of two t that share their scale, by scipy."""
    means, few, many = np.array([0.10, 0.09]), 4.0, 200.0
    found = Evidence(("few", "many"), means, np.eye(2) * 0.02**2, np.array([few, many]), 60, 0, means)
    for side, mean, freedom in (("few", 0.10, few), ("many", 0.09, many)):
        largest = stats.multivariate_t(shape=np.eye(2), df=freedom)
        gain = paired_gain(found, side=side)
        quantile = optimize.brentq(lambda q, largest=largest: float(largest.cdf([q, q])) - 0.95, 1, 5, xtol=1e-4)
        assert gain.low == pytest.approx(mean - 0.02 * quantile, abs=0.001)
        assert gain.p == pytest.approx(1 - float(largest.cdf([mean / 0.02] * 2)), abs=0.003)


def test_the_most_certain_gain_is_the_one_with_the_smallest_p() -> None:
    """Three errors ahead with two degrees of freedom is less sure than two and a half with a hundred."""
    means = np.array([0.06, 0.05])
    found = paired_gain(Evidence(("few", "many"), means, np.eye(2) * 0.02**2, np.array([2.0, 100.0]), 60, 0, means))
    assert stats.t.sf(3, 2) > 0.04 > 0.01 > stats.t.sf(2.5, 100)
    assert found.side == "many" and found.kept


def test_own_rows_that_say_the_opposite_keep_nothing() -> None:
    def found(own: float) -> Evidence:
        return Evidence(("a",), np.array([0.1]), np.eye(1) * 0.01**2, np.array([50.0]), 30, 30, np.array([own]))

    assert paired_gain(found(0.01)).kept and paired_gain(found(math.nan)).kept
    assert not paired_gain(found(0.0)).kept and not paired_gain(found(-0.01)).kept


def test_a_rival_without_evidence_is_never_kept() -> None:
    nothing = paired_gain(evidence_of_classes({"a": np.zeros((2, 5))}, ways=3))
    assert (nothing.mean, nothing.p, nothing.kept) == (0.0, 0.5, False)


def test_expected_best_of_two_is_the_normal_posterior() -> None:
    """Prior variances of a half for what rivals share and a half for their own: the mean given the estimates, from the joint normal."""
    means, error = np.array([0.08, 0.02]), np.array([[4, 1], [1, 9]]) * 1e-4
    found = expected_best(Evidence(("a", "b"), means, error, np.full(2, 50.0), 60, 0, means), prior=0.05)
    before = 0.05**2 * np.array([[1, 0.5], [0.5, 1]])
    assert found.gains == pytest.approx(before @ np.linalg.inv(before + error) @ means)
    assert found.side == "a" and found.gain == found.gains[0]
