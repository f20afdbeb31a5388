"""Choosing a learner: the right one on planted data, an honest accuracy, a temperature that calibrates, tables that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import t

from fewtune.learners.choice import CLEARLY, Answers, Choice, _unless_better, choose_learner, held_out_answers
from fewtune.learners.expected import share_learned
from fewtune.learners.folds import Splits
from fewtune.learners.labelled import Labelled
from fewtune.learners.usual import alone_of, prior_of, usual_temperature
from fewtune.learning.method import Method
from fewtune.models.fitting import fit_head
from fewtune.parts.heads import Blend, Logistic, NamedLogistic
from fewtune.recipes.default_learners import candidates, remarks_on_candidates
from fewtune.recipes.frozen import blend, centroid, logistic, matching, ridge, text_prior, zero_shot
from fewtune.statistics import Interval, UsualTemperature, best_of_candidates, expected_accuracy, fit_temperature, held_out_difference

Floats = NDArray[np.float64]


def average_nll(logits: Floats, label: NDArray[np.int64], temperature: float = 1.0) -> float:
    return -float(log_softmax(logits / temperature, axis=1)[np.arange(len(label)), label].mean())


def choose(methods: dict[str, Method], x: Any, y: NDArray[np.int64], vectors: Any = None, **options: Any) -> Choice:
    features = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    ways = int(y.max()) + 1
    held = None if vectors is None else torch.as_tensor(np.asarray(vectors), dtype=torch.float32)
    return choose_learner(
        methods,
        Labelled(features, np.arange(len(y)), y, ways),
        vectors=lambda m: held if m.learner.reads_classes else None,
        fallback="a",
        **options,
    )


def answers(method: Method, x: Any, y: NDArray[np.int64], new: Any) -> Floats:
    """Logits of new rows by a method fitted on all rows."""
    x, new = (torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (x, new))
    state, parameters = fit_head(method, x, np.arange(len(y)), y, int(y.max()) + 1, None)
    found: Floats = method.learner.score(state, new[None], parameters)[0].double().numpy()
    return found


def test_neighbours_win_where_classes_lie_crosswise() -> None:
    """Exclusive or: both classes have the same mean, so centroids know nothing and neighbours all."""
    random = np.random.default_rng(0)
    corners = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    y = np.repeat([0, 0, 1, 1], 10)
    x = np.repeat(corners, 10, axis=0) + 0.15 * random.normal(size=(40, 2))
    choice = choose({"a": centroid(), "b": matching(neighbours=3), "c": ridge(penalty=1.0)}, x, y)
    assert choice.name == "b" and choice.expected is not None and choice.expected.low > 0.9
    known = {c.name: c for c in choice.candidates}
    assert known["a"].accuracy < 0.75 and known["b"].accuracy == 1 and known["a"].p < 0.05
    assert known["b"].difference is None and known["a"].difference is not None and known["a"].difference.low > 0


def test_class_names_win_where_the_few_labels_are_noisy() -> None:
    random = np.random.default_rng(1)
    vectors = np.eye(5, 40)
    y = np.repeat(np.arange(5), 2)
    x = vectors[y] + 0.35 * random.normal(size=(10, 40))
    methods = {"a": centroid(), "b": matching(), "zero": zero_shot(), "prior": text_prior()}
    assert choose(methods, x, y, vectors).name in ("zero", "prior")
    assert choose({"a": centroid(), "zero": zero_shot()}, x, y, vectors).name == "zero"
    assert choose({"a": centroid(), "zero": zero_shot()}, x, y, vectors[[1, 2, 3, 4, 0]]).name == "a"


def test_ties_go_to_the_first_and_the_seed_decides_the_splits() -> None:
    x, y = np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4)
    choice = choose({"a": centroid(), "b": logistic(), "c": ridge(penalty=1.0)}, x, y)
    assert choice.name == "a" and all(c.accuracy == 1 and not c.p < 1 for c in choice.candidates if c.name != "a")
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 3))
    first, again, other = (choose({"a": centroid()}, x, y, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.confusion, again.confusion)
    assert not np.array_equal(first.confusion, other.confusion)


def test_recall_confusion_and_accuracy_add_up() -> None:
    random = np.random.default_rng(2)
    y = np.repeat(np.arange(4), [1, 3, 8, 13])
    x = random.normal(size=(4, 6))[y] + random.normal(size=(25, 6))
    choice = choose({"a": centroid(), "b": ridge(penalty=1.0)}, x, y)
    counts = np.array([0, 3, 8, 13])  # the lone row of class 0 is never held out
    np.testing.assert_allclose(choice.confusion.sum(1), counts, atol=1e-12)
    assert np.isnan(choice.recall[0]) and choice.unestimated == (0,)
    np.testing.assert_allclose(choice.recall[1:], np.diag(choice.confusion)[1:] / counts[1:], atol=1e-12)
    accuracy = next(c.accuracy for c in choice.candidates if c.name == choice.name)
    assert accuracy == pytest.approx(np.trace(choice.confusion) / 24, abs=1e-12)
    assert accuracy == max(c.accuracy for c in choice.candidates)
    assert choice.splits.held_out == 24 and choice.splits.folds == 5


def test_rows_anywhere_in_the_table_and_in_any_order() -> None:
    """`rows` are places in a larger table; other rows of it play no part."""
    random = np.random.default_rng(3)
    y = np.repeat(np.arange(3), 6)
    x = random.normal(size=(3, 5))[y] + 0.7 * random.normal(size=(18, 5))
    plain = choose({"a": centroid()}, x, y)
    table = torch.full((100, 5), torch.nan)
    rows = random.permutation(100)[:18]
    table[rows] = torch.from_numpy(x).float()
    placed = choose_learner({"a": centroid()}, Labelled(table, rows, y, 3), vectors=lambda _: None, fallback="a")
    np.testing.assert_array_equal(plain.confusion, placed.confusion)
    assert plain.temperature == placed.temperature


def test_nothing_can_be_held_out_of_single_examples() -> None:
    choice = choose({"b": ridge(penalty=1.0), "a": centroid()}, np.eye(3), np.arange(3))
    assert choice.name == "a" and choice.expected is None and choice.temperature == 1 and choice.unestimated == (0, 1, 2)
    assert np.isnan(choice.recall).all() and choice.splits.episodes is None and np.isnan(choice.candidates[0].accuracy)


def sample(random: np.random.Generator, each: int, spread: float) -> tuple[Floats, NDArray[np.int64]]:
    """Three classes that overlap."""
    y = np.repeat(np.arange(3), each)
    return np.eye(3, 8)[y] + spread * random.normal(size=(len(y), 8)), y


def test_the_expected_accuracy_is_honest() -> None:
    """Over many draws of 8 examples a class, the accuracy to expect is on average the accuracy on fresh data, though it is the best of 6.

    The plain score of the winner is too good for a model of four fifths of the rows.
    """
    random = np.random.default_rng(4)
    methods = {
        "a": centroid(),
        "b": matching(),
        "c": matching(neighbours=1),
        "d": ridge(penalty=0.1),
        "e": ridge(penalty=10.0),
        "f": logistic(),
    }
    expected, plain, truth = [], [], []
    for draw in range(60):
        x, y = sample(random, 8, 0.7)
        choice = choose(methods, x, y, seed=draw)
        new, label = sample(random, 300, 0.7)
        truth.append(float((answers(choice.method, x, y, new).argmax(1) == label).mean()))
        assert choice.expected is not None
        expected.append(choice.expected.mean)
        plain.append(max(c.accuracy for c in choice.candidates))
    error = np.std(np.array(expected) - truth) / np.sqrt(60)
    bias = float(np.mean(expected) - np.mean(truth))
    assert abs(bias) < 0.01 + 2 * error


@pytest.mark.parametrize("method", [centroid(), logistic(), logistic(C=1000.0), ridge(penalty=0.01)], ids=lambda m: repr(m.learner)[:24])
def test_the_temperature_calibrates_on_fresh_data(method: Method) -> None:
    """Over draws of 15 examples a class: fresh labels are likelier by it, and nearly as likely as by the best temperature in hindsight."""
    random = np.random.default_rng(5)
    raw, fitted, best = [], [], []
    for draw in range(12):
        x, y = sample(random, 15, 0.6)
        temperature = choose({"a": method}, x, y, seed=draw).temperature
        new, label = sample(random, 200, 0.6)
        logits = answers(method, x, y, new)
        raw.append(average_nll(logits, label))
        fitted.append(average_nll(logits, label, temperature))
        best.append(min(average_nll(logits, label, t) for t in np.geomspace(0.05, 50, 60)))
    # where nothing was wrong, fitting one number on n rows costs 1 / (2 n) nats
    assert np.mean(fitted) < np.mean(raw) + 1 / (2 * 45)
    if method != logistic():
        assert np.mean(fitted) < np.mean(raw) - 0.1
    # all but unregularised logits have another scale on fewer rows, so what the folds teach holds less well
    assert np.mean(fitted) - np.mean(best) < (0.15 if method == logistic(C=1000.0) else 0.03)


def test_the_prior_is_taken_unless_another_is_clearly_better() -> None:
    """Of equal learners the prior; where neighbours are right and means are not, neighbours."""
    random = np.random.default_rng(8)
    x, y = sample(random, 8, 0.7)
    methods = {"a": centroid(), "b": ridge(penalty=1.0), "c": logistic(), "d": logistic(C=1.0)}
    assert [choose(methods, x, y, prior=name).name for name in ("a", "b", "c", "d")] == ["a", "b", "c", "d"]
    corners = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    y = np.repeat([0, 0, 1, 1], 10)
    x = np.repeat(corners, 10, axis=0) + 0.15 * random.normal(size=(40, 2))
    assert choose({"a": centroid(), "b": matching(neighbours=3)}, x, y, prior="a").name == "b"


def test_the_rule_is_an_interval_of_the_log_loss() -> None:
    """By hand: losses of two learners on 8 rows, 5 folds: the variance of the mean counts 1 + 5/4 times."""
    gained = np.array([0.5, -0.1, 0.2, 0.4, -0.2, 0.3, 0.1, 0.6])
    error = gained.std(ddof=1) / np.sqrt(8) * np.sqrt(1 + 5 / 4)
    half = float(t.ppf((1 + CLEARLY) / 2, 7)) * error
    for shift, expected in ((half - gained.mean() + 1e-6, "b"), (half - gained.mean() - 1e-6, "a")):
        losses = {"a": np.ones(8), "b": 1 - gained - shift, "c": np.full(8, 1.2)}
        assert _unless_better("a", losses, 5) == expected
    assert _unless_better("a", {"a": np.ones(8)}, 5) == "a"


def test_learners_are_compared_by_the_folds_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two rows a class there are two folds: the rule and the table count half of the rows as learned from, not four fifths."""
    asked: list[int] = []

    def counted(differences: Floats, folds: int, level: float = 0.95) -> Any:
        asked.append(folds)
        return held_out_difference(differences, folds, level)

    monkeypatch.setattr("fewtune.learners.choice.held_out_difference", counted)
    x, y = sample(np.random.default_rng(13), 2, 0.5)
    choice = choose({"a": centroid(), "b": logistic()}, x, y, prior="a")
    assert choice.splits.folds == 2 and asked == [2, 2]


def expected_by_hand(choice: Choice, correct: Floats, excess: float) -> Interval:
    """From the held-out correctness [N] of the chosen learner."""
    labels = choice.confusion.sum(1)
    chance = float(((labels / labels.sum()) ** 2).sum())
    repeats = int(choice.splits.repeat.max()) + 1
    return expected_accuracy(correct, share_learned(choice.splits), chance, choice.slope, repeats=repeats, excess=excess)


def test_the_accuracy_of_a_prior_needs_no_correction_for_choosing() -> None:
    random = np.random.default_rng(9)
    x, y = sample(random, 8, 0.7)
    methods = {"a": centroid(), "b": ridge(penalty=1.0)}
    choice, features = choose(methods, x, y, prior="a"), torch.as_tensor(x, dtype=torch.float32)
    alone = held_out_answers(methods["a"], Labelled(features, np.arange(24), y, 3), choice.splits, None).correct(y, 24)
    assert choice.expected == expected_by_hand(choice, alone, 0.0)
    assert choose({"a": methods["a"]}, x, y).expected == choice.expected  # a single learner is not chosen either


def test_losses_are_means_over_repeats_of_calibrated_answers() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    answers = Answers(logits, np.array([0, 1, 0, 1]))
    labels = np.array([0, 1])
    temperature = fit_temperature(logits.double().numpy(), labels[answers.item])
    by_hand = -log_softmax(logits.numpy().astype(np.float64) / temperature, axis=1)[np.arange(4), labels[answers.item]]
    found = answers.losses(labels, 3)
    np.testing.assert_allclose(found[:2], [by_hand[[0, 2]].mean(), by_hand[[1, 3]].mean()], atol=1e-6)
    assert np.isnan(found[2])


def test_a_blend_takes_its_temperatures_from_held_out_answers() -> None:
    random = np.random.default_rng(10)
    x, y = sample(random, 8, 0.7)
    features = torch.as_tensor(x, dtype=torch.float32)
    choice = choose({"a": blend()}, x, y)
    head = choice.method.learner
    assert isinstance(head, Blend)
    for part, temperature in zip(head.heads, head.temperatures, strict=True):
        held = held_out_answers(Method(learner=part), Labelled(features, np.arange(24), y, 3), choice.splits, None)
        assert temperature == pytest.approx(held.temperature(y), rel=0.005)
    whole = held_out_answers(choice.method, Labelled(features, np.arange(24), y, 3), choice.splits, None)
    assert choice.answers is not None
    torch.testing.assert_close(whole.logits.double(), choice.answers.logits, atol=1e-5, rtol=1e-4)
    assert choice.candidates[0].method == choice.method


def test_folds_of_single_rows_say_nothing_of_the_temperatures_of_a_blend() -> None:
    """With one row a class a Gaussian has no covariance, and its logits another scale than those of the model that is saved."""
    x, y = sample(np.random.default_rng(12), 2, 0.5)
    choice = choose({"a": blend()}, x, y)
    assert choice.method == blend() and choice.temperature == 1
    ours = blend(heads=(Logistic(),))
    assert choose({"a": ours}, x, y).method != ours  # what is usual is known of the default heads alone


def test_few_answers_take_about_the_usual_temperature() -> None:
    usual = UsualTemperature(0.5, 0.6)
    answers = Answers(torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 10), np.array([0, 1] * 10))  # two rows, ten times each
    labels, logits = np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]] * 10)
    found = answers.temperature(labels, usual)
    assert found == pytest.approx(fit_temperature(logits, np.array([0, 1] * 10), usual=usual, items=2))
    assert abs(np.log(found / 0.5)) < abs(np.log(answers.temperature(labels) / 0.5)) / 4


def test_the_usual_temperatures() -> None:
    known = [usual_temperature(head) for head in (NamedLogistic(prompts=("{}",)), Blend())]
    assert known == [UsualTemperature(0.14, 1.0), UsualTemperature(1.0, 0.25)]
    others = (NamedLogistic(prompts=("{}",), C=2.0), Blend(heads=(Logistic(),)), *Blend().heads, centroid().head)
    assert [usual_temperature(head) for head in others] == [None] * 6


def test_a_head_of_a_blend_that_is_also_a_candidate_is_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(np.random.default_rng(11), 6, 0.7)
    methods = {"a": centroid(), "b": logistic(), "c": blend()}
    apart = {name: choose({"a": method}, x, y).answers for name, method in methods.items()}
    fitted: list[str] = []
    honest = held_out_answers

    def counted(method: Method, labelled: Labelled, splits: Splits, vectors: Any) -> Answers:
        if splits.repeat.max() == 9:  # all repeats: the slope of the learning curve takes the first five once more, from half the labels
            fitted.append(type(method.learner).__name__)
        return honest(method, labelled, splits, vectors)

    monkeypatch.setattr("fewtune.learners.choice.held_out_answers", counted)
    for name in methods:  # whichever is taken, its answers are those it gives alone
        together = choose(methods, x, y, prior=name)
        assert together.name == name and together.answers is not None and apart[name] is not None
        assert torch.equal(together.answers.logits, apart[name].logits)
    assert sorted(fitted) == sorted(["Centroid", "Logistic", "Ridge", "Gaussian"] * 3)


def test_the_usual_learners() -> None:
    seen, named = candidates(label_side=False, modality="image"), candidates(label_side=True, modality="text")
    assert prior_of(seen) == "blend" and alone_of(seen) == "centroid"
    assert str(prior_of(named)).startswith("named_logistic") and alone_of(named) == prior_of(named)
    single = candidates(label_side=True, modality="text", single=True)
    assert set(single) - set(named) == {alone_of(single)} == {"shrink(prompts='{}')"} and prior_of(single) == prior_of(named)
    for modality, side in (("image", True), ("text", False)):  # one example a class was measured on texts with names
        assert "shrink" not in " ".join(candidates(label_side=side, modality=modality, single=True))
    assert prior_of({"a": centroid()}) is None and alone_of({"a": centroid()}) == "a"


def test_many_rows_stay_quick() -> None:
    """Fewer repeats for more rows, and no learner whose time grows with their cube."""
    assert "svm" not in candidates(label_side=False, modality="vector", rows=8)
    assert set(candidates(label_side=True, modality="image")) >= {"zero_shot", "text_prior", "named_logistic"}
    y = np.repeat([0, 1], 500)
    choice = choose({"a": centroid()}, np.eye(2)[y], y)
    assert choice.splits.repeat.max() + 1 == 2 and choice.splits.folds == 5


def test_the_accuracy_to_expect_is_resampled_within_classes() -> None:
    """A common class that is known and a rare one that is not: every resample has as many rows of each."""
    random = np.random.default_rng(4)
    y = np.repeat([0, 1], [24, 6])
    x = np.where(y == 0, 4.0, 0.0)[:, None] * np.eye(6)[0] + random.normal(size=(30, 6))
    methods = {"a": centroid(), "b": ridge(penalty=1.0), "c": matching(neighbours=3)}
    choice = choose(methods, x, y, seed=3)
    features, rows = torch.as_tensor(x, dtype=torch.float32), np.arange(30)
    correct = np.stack([held_out_answers(m, Labelled(features, rows, y, 2), choice.splits, None).correct(y, 30) for m in methods.values()])
    best = correct[list(methods).index(choice.name)]
    within, without = (float(best.mean()) - best_of_candidates(correct, labels=labels, seed=3).mean for labels in (y, None))
    assert within > 0 and within != without
    assert choice.expected == expected_by_hand(choice, best, within)


def test_matching_is_left_out_of_large_tables_and_said() -> None:
    """Its time grows with the square of the rows."""
    assert "matching" in candidates(label_side=False, modality="vector", rows=20_000) and remarks_on_candidates(20_000) == ()
    assert set(candidates(label_side=False, modality="vector", rows=20_001)) == {"centroid", "ridge", "logistic", "blend"}
    (said,) = remarks_on_candidates(20_001)
    assert "matching was not tried" in said and "20,000 rows" in said


def test_of_many_rows_and_classes_only_closed_forms_are_tried_and_said() -> None:
    closed = {"centroid", "ridge", "gaussian"}
    assert set(candidates(label_side=False, modality="vector", rows=20_000, classes=100)) >= {"logistic", "blend"}
    assert remarks_on_candidates(20_000, 100) == ()
    assert set(candidates(label_side=False, modality="vector", rows=20_000, classes=101)) == closed
    assert set(candidates(label_side=True, modality="image", rows=20_000, classes=101)) == closed | {"zero_shot"}
    (said,) = remarks_on_candidates(20_000, 101)
    assert "20,000 rows of 101 classes" in said and "--method logistic" in said
