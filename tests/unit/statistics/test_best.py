"""The best against the others: p values by hand and by their definition, differences of training runs, and how often a claim is false."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fewtune.evaluation.rivals import Answered, adjusted, against, best_of, compared
from fewtune.statistics import adjust_against_best, held_out_difference, paired_interval, runs_difference, sign_flip_test

Floats = NDArray[np.float64]


def test_adjusted_by_hand() -> None:
    # Sorted .004 .01 .03 .04; with 4, 3, 2, 1 rivals left there are 10, 6, 3, 1 pairs: .04 .06 .09 .04, and none may be below one before.
    assert adjust_against_best([0.01, 0.04, 0.03, 0.004]) == pytest.approx([0.06, 0.09, 0.09, 0.04], rel=1e-12)
    assert adjust_against_best([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert adjust_against_best([0.2]) == pytest.approx([0.2])
    assert adjust_against_best([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_adjusted_is_the_step_down_procedure(p: list[float], level: float) -> None:
    """Adjusted <= level exactly where each p, the smallest first, is at most level / (pairs among what is left), until one is not."""
    rejected = set()
    for left, i in zip(range(len(p), 0, -1), sorted(range(len(p)), key=lambda i: p[i]), strict=True):
        if p[i] * math.comb(left + 1, 2) > level:
            break
        rejected.add(i)
    found = adjust_against_best(p)
    assert {i for i in range(len(p)) if found[i] <= level} == rejected
    assert np.all(found >= np.array(p)) and np.all(found <= 1)


@pytest.mark.parametrize("bad", [[0.1, math.nan], [1.1], [-0.1], [[0.1]]])
def test_what_is_no_p_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="expected p values"):
        adjust_against_best(bad)


def test_what_is_not_known_stays_unknown_and_counts() -> None:
    found = adjusted([0.001, float("nan"), 0.04])
    assert found[0] == pytest.approx(0.006) and math.isnan(found[1]) and found[2] == pytest.approx(0.12)


def claims(z: Floats, truth: Floats) -> tuple[float, float]:
    """Of tables of k scores [R, k] of standard deviation 1 around `truth`: how many make a false claim, and how many mark a winner."""
    rows, best = np.arange(len(z)), z.argmax(1)
    p = 2 * stats.norm.sf(np.abs(z[rows, best][:, None] - z) / math.sqrt(2))
    others = np.arange(z.shape[1])[None] != best[:, None]
    found = np.array([adjust_against_best(mine[other]) for mine, other in zip(p, others, strict=True)]).reshape(len(z), -1)
    at_least = (truth[None] >= truth[best][:, None])[others].reshape(len(z), -1)
    return float(((found < 0.05) & at_least).any(1).mean()), float((found < 0.05).all(1).mean())


@pytest.mark.parametrize("truth", [[0.0] * 2, [0.0] * 3, [0.0] * 15, [0, 0, 3, 3], [0, 0, 1.5, 1.5, 3, 3], [0, 2, 2], [0, 0, 0, 9, 9]])
def test_five_tables_of_a_hundred_claim_what_is_false(truth: list[float]) -> None:
    """Whatever the methods are truly like: all equal, in pairs, nearly equal, far apart."""
    size = 6_000
    z = np.random.default_rng(0).normal(size=(size, len(truth))) + truth
    false, _ = claims(z, np.array(truth))
    assert false <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / size)


def test_all_equal_methods_use_up_what_is_allowed() -> None:
    """Not by being blind: with two methods, and for the leading two of many, it is the plain test at 5%."""
    size = 6_000
    for truth in ([0.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0]):
        z = np.random.default_rng(1).normal(size=(size, len(truth))) + truth
        assert claims(z, np.array(truth))[1] == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / size))


def test_power_is_not_lost() -> None:
    """A true lead is marked more often than by a paired t test with Bonferroni's correction for the rivals, let alone for all pairs."""
    generator = np.random.default_rng(2)
    ours = rivals = pairs = 0
    for _ in range(150):
        scores = generator.normal(size=(5, 60)) * 0.1 + generator.normal(size=60) * 0.3 + np.array([[0.12], [0.06], [0.05], [0.02], [0.0]])
        best = int(scores.mean(1).argmax())
        others = [i for i in range(5) if i != best]
        t = np.array([stats.ttest_rel(scores[best], scores[i]).pvalue for i in others])
        flips = adjust_against_best([sign_flip_test(np.round(100 * (scores[best] - scores[i]))) for i in others])
        ours += bool((flips < 0.05).all())
        rivals += bool((t * 4 < 0.05).all())
        pairs += bool((t * 10 < 0.05).all())
    assert ours >= rivals > pairs and ours > 1.15 * rivals


def table(generator: np.random.Generator, k: int, runs: int, episodes: int, spread: float) -> dict[str, Answered]:
    """k equally good methods; with runs, each run is off by `spread` for all its episodes. Accuracies of 15 queries."""
    place = tuple((0, e) for e in range(episodes))
    hard = generator.normal(0.6, 0.1, episodes)
    found = {}
    for m in range(k):
        p = hard + generator.normal(0, spread if runs else 0, (max(runs, 1), 1)) + generator.normal(0, 0.05, (max(runs, 1), episodes))
        found[str(m)] = Answered(generator.binomial(15, p.clip(0, 1)) / 15, place, learns=runs > 0)
    return found


@pytest.mark.parametrize(("k", "runs"), [(2, 0), (5, 0), (15, 0), (2, 3), (5, 3), (15, 3), (2, 2), (2, 5)])
def test_equal_methods_are_seldom_told_apart(k: int, runs: int) -> None:
    """Some p < .05, or a mark, in at most 5 of 100 tables: frozen methods, and trained ones whose runs differ more than episodes tell."""
    generator, size = np.random.default_rng(k + runs), {2: 400, 5: 250, 15: 120}[k]
    some = marked = 0
    for _ in range(size):
        answered = table(generator, k, runs, 25, 0.03)
        best = best_of(answered)
        p = adjusted([against(a, answered[best]).p for m, a in answered.items() if m != best])
        some += min(p) < 0.05
        marked += max(p) < 0.05
    assert marked <= some <= size * (0.05 + 3 * math.sqrt(0.05 * 0.95 / size))


def test_tests_over_episodes_alone_would_mark_lucky_runs() -> None:
    """What the law above would see if training runs did not count: the same tables, by the sign-flip test over episodes."""
    generator, size, some = np.random.default_rng(5), 300, 0
    for _ in range(size):
        answered = table(generator, 2, 3, 25, 0.03)
        some += sign_flip_test(answered["0"].scores.mean(0) - answered["1"].scores.mean(0)) < 0.05
    assert some > 0.1 * size


def test_methods_trained_once_claim_nothing() -> None:
    generator = np.random.default_rng(3)
    answered = table(generator, 2, 1, 200, 0.0) | {"frozen": table(generator, 1, 0, 200, 0.0)["0"]}
    answered["0"] = Answered(np.ones((1, 200)), answered["0"].place, learns=True)
    best = best_of(answered)
    found = {m: against(a, answered[best]) for m, a in answered.items() if m != best}
    assert best == "0" and all(math.isnan(pair.p) for pair in found.values())
    assert found["frozen"].difference is not None and found["frozen"].difference.high < 0  # on these episodes, for this run
    answered["0"] = Answered(np.ones((1, 200)), answered["0"].place, learns=False)
    assert math.isnan(against(answered["1"], answered["0"]).p) and against(answered["frozen"], answered["0"]).p < 1e-6


def test_a_line_with_fewer_episodes_changes_nothing_between_the_others() -> None:
    generator = np.random.default_rng(4)
    answered = table(generator, 2, 0, 100, 0.0)
    few = Answered(answered["0"].scores[:, :20] - 0.3, answered["0"].place[:20], learns=False)
    best = best_of(answered)
    other = next(m for m in answered if m != best)
    # on the first 20 episodes the other one leads
    flipped = answered[other].scores.copy()
    flipped[:, :20] = answered[best].scores[:, :20] + 0.05
    flipped[:, 20:] = answered[best].scores[:, 20:] - 0.05
    two = {"a": answered[best], "b": Answered(flipped, answered[other].place, learns=False)}
    assert best_of(two) == "a" == best_of({**two, "few": few}) == best_of({"few": few, **two})
    pair = against(two["b"], two["a"])
    assert pair.difference == paired_interval(flipped[0] - answered[best].scores[0]) and pair.difference.n == 100
    short = against(few, two["a"])
    assert short.difference is not None and short.difference.n == 20


def test_a_line_with_fewer_episodes_changes_no_p_of_the_others() -> None:
    """Whether it is far worse, about as good or far better on its 20 episodes."""
    generator = np.random.default_rng(11)
    answered = table(generator, 4, 0, 100, 0.02)
    alone = compared(answered)
    for shift, winner in ((-0.4, alone.winner), (0.0, None), (0.6, "few")):
        few = Answered(np.clip(answered[alone.best].scores[:, :20] + shift, 0, 2), answered["0"].place[:20], learns=False)
        found = compared({"few": few, **answered})
        assert found.best == alone.best and found.winner == winner
        assert {m: (found.p[m], found.wilcoxon[m], found.pairs[m]) for m in alone.p} == {
            m: (alone.p[m], alone.wilcoxon[m], alone.pairs[m]) for m in alone.p
        }
        pair = found.pairs["few"]
        assert pair.difference is not None and pair.difference.n == 20 and np.isclose(pair.difference.mean, shift, atol=0.05)
        assert found.p["few"] >= pair.p or math.isnan(pair.p)


def test_the_best_does_not_depend_on_the_order_of_methods() -> None:
    """a leads b on 40 episodes; on the first 10 of them b leads few, and few leads a."""
    place = tuple((0, e) for e in range(40))
    level = {"a": [0.5] * 10 + [0.9] * 30, "b": [0.7] * 10 + [0.4] * 30, "few": [0.6] * 10}
    made = {m: Answered(np.array([v]), place[: len(v)], learns=False) for m, v in level.items()}
    assert {best_of({m: made[m] for m in order}) for order in itertools.permutations(made)} == {"few"}


def test_the_best_is_the_highest_mean_and_ties_go_to_the_first() -> None:
    place = tuple((0, e) for e in range(4))
    made = {m: Answered(np.full((1, 4), v), place, learns=False) for m, v in (("a", 0.4), ("b", 0.6), ("c", 0.6), ("d", 0.5))}
    assert best_of(made) == "b"


def test_one_run_each_is_the_paired_t_test() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30)) + np.array([[0.5], [0.0]])
    interval, p = runs_difference(a[None], b[None], 0.9)
    theirs = stats.ttest_rel(a, b)
    assert p == pytest.approx(max(theirs.pvalue, sign_flip_test(a - b)), rel=1e-9)
    assert (interval.low, interval.high) == pytest.approx(tuple(theirs.confidence_interval(0.9)), rel=1e-9)


def test_runs_and_episodes_by_hand() -> None:
    """Runs of means 1, 2, 3 against one frozen method of 0 on 4 episodes that differ by -+ 1: variance 1 / 3 + (4 / 3) / 4, 2 degrees."""
    runs = np.array([[1.0], [2.0], [3.0]]) + np.array([[-1, 1, -1, 1]])
    interval, p = runs_difference(runs, np.zeros((1, 4)))
    t = 2 / math.sqrt(2 / 3)
    exact = 1 - t / math.sqrt(2 + t * t)  # two-sided, for two degrees of freedom
    assert p == pytest.approx(exact, rel=1e-12) and interval.mean == 2 and interval.n == 4
    half = math.sqrt(2 / 3) * stats.t.ppf(0.975, 2)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), rel=1e-12)
    turned, same = runs_difference(np.zeros((1, 4)), runs)
    assert same == p and turned.mean == -2


@pytest.mark.parametrize(
    ("first", "second", "shares"), [(3, 1, (0.05, 0.0)), (3, 3, (0.05, 0.0)), (3, 3, (0.05, 0.05)), (2, 6, (0.02, 0.05))]
)
def test_runs_difference_is_never_too_sure(first: int, second: int, shares: tuple[float, float]) -> None:
    """However the spread is shared between runs and episodes, p <= a at most as often as a: at 5% and far down, where many are compared."""
    generator, size = np.random.default_rng(6), 2_000
    p = np.empty(size)
    for i in range(size):
        easy = generator.normal(0, 0.1, 20)
        a, b = (
            easy + generator.normal(0, s, (n, 1)) + generator.normal(0, 0.05, (n, 20)) for n, s in zip((first, second), shares, strict=True)
        )
        d = a.mean(0) - b.mean(0)
        parts = [d, *(x.mean(1) for x in (a, b) if len(x) > 1)]
        error = math.sqrt(sum(x.var(ddof=1) / len(x) for x in parts))
        p[i] = 2 * stats.t.sf(abs(d.mean()) / error, min(map(len, parts)) - 1)
        if i < 20:
            assert runs_difference(a, b)[1] == pytest.approx(max(p[i], sign_flip_test(d)), rel=1e-9)
    for level in (0.05, 0.005):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / size)


def test_differences_that_are_all_alike_are_no_certainty() -> None:
    """Three episodes with the same difference: the t test would be sure; 3 signs are alike by chance once in 4."""
    assert runs_difference(np.ones((2, 3)), np.zeros((1, 3)))[1] == pytest.approx(0.25)
    assert held_out_difference([0.5, 0.5, 0.5], 5)[1] == pytest.approx(0.25)
    assert runs_difference(np.ones((2, 3)), np.ones((1, 3)))[1] == 1.0 and held_out_difference([0.0, 0.0], 2)[1] == 1.0
    assert runs_difference(np.ones((2, 1)), np.zeros((1, 1)))[1] == 1.0 and held_out_difference([0.5], 2)[1] == 1.0
    assert math.isnan(held_out_difference([0.5], 2)[0].low)


def test_runs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="same episodes, found 3 and 4"):
        runs_difference(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"\[runs, episodes\], found shape \(3,\)"):
        runs_difference(np.ones(3), np.ones((1, 3)))
    with pytest.raises(ValueError, match="at least 2 folds, found 1"):
        held_out_difference([0.1, 0.2], 1)


def test_held_out_by_hand() -> None:
    """Mean 2, s^2 1 over 3 rows in 3 folds: variance 1 / 3 (1 + 3 / 2)."""
    interval, p = held_out_difference([1.0, 2.0, 3.0], 3)
    t = 2 / math.sqrt(2.5 / 3)
    assert 1 - t / math.sqrt(2 + t * t) < 0.25 == p  # three signs alike
    half = math.sqrt(2.5 / 3) * stats.t.ppf(0.975, 2)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), rel=1e-12)
    many = np.random.default_rng(0).normal(0.3, 1, 40)
    z = many.mean() / (many.std(ddof=1) / math.sqrt(40) * math.sqrt(1 + 5 / 4))
    assert held_out_difference(many, 5)[1] == pytest.approx(2 * stats.t.sf(z, 39), rel=1e-9)


def test_equal_learners_on_held_out_rows_are_seldom_told_apart() -> None:
    """Nearest means on two halves of the features, 5 classes of 8 rows, 4 times 5 folds: the folds share what they learn from, so that a
    plain test over rows is too sure."""
    generator, size = np.random.default_rng(7), 150
    plain = ours = 0
    label = np.repeat(np.arange(5), 8)
    for _ in range(size):
        centres = np.tile(generator.normal(size=(5, 8)) * 0.5, (2, 1, 1))
        rows = centres[:, label] + generator.normal(size=(2, 40, 8))
        right = sum(held_out(rows, label, generator) for _ in range(4)) / 4
        d = right[0] - right[1]
        plain += stats.ttest_1samp(d, 0).pvalue < 0.05 if d.any() else 0
        ours += held_out_difference(d, 5)[1] < 0.05
    assert plain > 0.07 * size and ours <= 0.05 * size


def held_out(rows: Floats, label: NDArray[np.int64], generator: np.random.Generator) -> Any:
    """Whether the nearest class mean of the other folds is right, [learners, N]."""
    fold = np.concatenate([generator.permutation(np.arange(8) % 5) for _ in range(5)])
    right = np.zeros(rows.shape[:2])
    for f, v in itertools.product(range(5), range(2)):
        means = np.stack([rows[v, (fold != f) & (label == c)].mean(0) for c in range(5)])
        apart = ((rows[v, fold == f][:, None] - means) ** 2).sum(-1)
        right[v, fold == f] = apart.argmin(1) == label[fold == f]
    return right
