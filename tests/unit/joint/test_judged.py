"""How ways are judged: losses, metrics, intervals, guessing, and whether learning together helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, r2_score

from fewtune.errors import InputError
from fewtune.joint.judged import judged_task, metrics_by_kind, sharing_of, truth_of
from fewtune.joint.networks import held_back
from fewtune.joint.rows import JointRows, joint_rows
from fewtune.joint.study import with_test
from fewtune.joint.words import beats_guessing, left_out_sentence, scales_sentence, sharing_sentences, summary_sentence, task_sentence
from fewtune.keys import key
from fewtune.models.joint.model import answers_of
from fewtune.statistics.metric_seeds import runs_gain, runs_metric
from fewtune.statistics.metrics import METRICS
from fewtune.words import rounded
from tests.unit.joint.grounds import houses


@pytest.fixture
def rows(tmp_path: Path) -> JointRows:
    return joint_rows(houses(tmp_path, rows=120), None)


def outputs(rows: JointRows, place: int, noise: float, seed: int = 0) -> np.ndarray:
    """Outputs that are the truth and noise."""
    task = rows.tasks[place]
    found = np.full((len(rows), task.outputs), np.nan)
    right = np.nan_to_num(task.targets(task.train), nan=0.5)
    scale = 1.0 if task.column.kind == "float" else 4.0
    found[task.train] = scale * (right - (0 if scale == 1 else 0.5)) + noise * np.random.default_rng(seed).normal(size=right.shape)
    return found


def test_answers_are_those_of_the_kind() -> None:
    z = np.array([[1.0, -2.0, 0.5]])
    np.testing.assert_allclose(answers_of("class", z, (0, 1), 2.0), np.exp(log_softmax(z / 2, axis=1)))
    np.testing.assert_allclose(answers_of("multi", z, (0, 1)), expit(z))
    np.testing.assert_allclose(answers_of("float", z, (10.0, 3.0)), [13.0])


def test_metrics_and_losses_are_scikit_learn_s(rows: JointRows) -> None:
    for place, task in enumerate(rows.tasks):
        found = judged_task(rows, place, {"a": outputs(rows, place, 1.0)}, 5, pair=None).ways["a"]
        truth = truth_of(task, task.train)
        if task.column.kind == "float":
            assert found.value.mean == pytest.approx(r2_score(truth, found.answers))
            assert found.loss == pytest.approx(np.mean(((found.answers - truth) / task.scale[1]) ** 2))
            errors = np.sort(np.abs(found.answers - truth))
            assert found.half == errors[int(np.ceil(0.9 * (len(errors) + 1))) - 1]
        elif task.column.kind == "class":
            assert found.value.mean == pytest.approx(accuracy_score(truth, found.answers.argmax(1)))
            assert found.loss == pytest.approx(log_loss(truth, found.answers, labels=[0, 1]))
        else:
            theirs = [average_precision_score(truth[:, label], found.answers[:, label]) for label in range(2)]
            assert found.value.mean == pytest.approx(np.mean(theirs))


def test_the_way_with_the_least_loss_is_chosen_and_guessing_stands_beside_it(rows: JointRows) -> None:
    for place, task in enumerate(rows.tasks):
        found = judged_task(rows, place, {"bad": outputs(rows, place, 5.0), "good": outputs(rows, place, 0.3)}, 5)
        assert found.chosen == "good" and found.sharing is None and found.guessing < found.best.value.mean
        truth = truth_of(task, task.train)
        if task.column.kind == "class":
            assert found.guessing == pytest.approx(np.bincount(truth).max() / len(truth))
        elif task.column.kind == "float":
            assert found.guessing == pytest.approx(0.0)


def test_sharing_is_judged_on_the_same_rows(rows: JointRows) -> None:
    close, far = outputs(rows, 0, 0.2), outputs(rows, 0, 1.5, seed=1)
    for alone, together, verdict in ((far, close, "helps"), (close, far, "hurts"), (close, close, "not shown")):
        found = judged_task(rows, 0, {"independent": alone, "shared_bottom": together}, 5)
        assert found.sharing is not None and found.sharing.verdict == verdict
    other = judged_task(rows, 0, {"independent": far, "mmoe()": close}, 5, pair=("independent", "mmoe()"))
    assert other.sharing is not None and other.sharing.verdict == "helps"


def test_what_is_shown_stands_in_plain_sentences(rows: JointRows) -> None:
    close, far = (outputs(rows, 0, noise, seed=int(noise)) for noise in (0.2, 1.5))
    hurt = judged_task(rows, 0, {"independent": close, "shared_bottom": far}, 5)
    same = judged_task(rows, 1, {"independent": outputs(rows, 1, 1.0), "shared_bottom": outputs(rows, 1, 1.0)}, 5)
    said = sharing_sentences([hurt, same])
    assert said[0].startswith("Learning all columns together hurts price (-") and "(negative transfer)" in said[0]
    assert said[1] == "It is not shown that learning together helps or hurts kind."
    truth = truth_of(rows.tasks[0], rows.tasks[0].train)
    off, blind = np.abs(hurt.best.answers - truth).mean(), np.abs(truth - truth.mean()).mean()
    begin = f"price: new numbers are off by {rounded(off)} on average, and by {rounded(blind)} if the mean is always given"
    assert task_sentence(hurt).startswith(begin)
    useless = judged_task(rows, 1, {"logistic": np.zeros((len(rows), 2))}, 5)
    assert "always the commonest: " in task_sentence(useless)
    assert summary_sentence([hurt, useless]) == "Answered better than by guessing: price. Not shown to be: kind."
    assert summary_sentence([hurt, hurt]) == "Both columns are answered better than by guessing."
    assert summary_sentence([useless]) == "No column is shown to be answered better than by guessing: kind."


def test_temperatures_do_not_change_the_answer(rows: JointRows) -> None:
    found = judged_task(rows, 1, {"a": 100 * outputs(rows, 1, 1.0)}, 5).ways["a"]
    assert found.temperature > 10 and found.loss < 0.7


def test_runs_are_drawn_as_rows_are() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=200)
    runs = [truth + noise * random.normal(size=200) for noise in (0.3, 0.9)]
    one = runs_metric(METRICS["r2"], runs[:1], truth)
    both = runs_metric(METRICS["r2"], runs, truth)
    assert one.mean == pytest.approx(r2_score(truth, runs[0]))
    assert both.mean == pytest.approx(np.mean([r2_score(truth, run) for run in runs]))
    assert both.low < r2_score(truth, runs[1]) + 0.1 and both.high > r2_score(truth, runs[0]) - 0.05
    gain, p = runs_gain(METRICS["rmse"], [runs[0]], [runs[1]], truth)
    assert gain.mean > 0 and gain.low > 0 and p < 0.01
    off, p = runs_gain(METRICS["mae"], runs[1:], runs[:1], truth)  # a mean over rows: drawn all at once
    errors = [np.abs(run - truth) for run in runs]
    error = np.std(errors[0] - errors[1], ddof=1) / 200**0.5
    assert off.mean == pytest.approx((errors[0] - errors[1]).mean()) and p < 0.01
    assert off.high - off.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert runs_metric(METRICS["mae"], runs, truth).mean == pytest.approx(np.mean(errors))
    none, p = runs_gain(METRICS["r2"], runs, runs, truth)
    assert none.mean == 0 and p == 1.0
    with pytest.raises(ValueError, match="expected as many runs of both"):
        runs_gain(METRICS["r2"], runs, runs[:1], truth)


def test_verdicts_at_the_edge_of_the_interval() -> None:
    truth = np.array([0, 1] * 50)
    sure = np.eye(2)[truth]
    assert sharing_of(METRICS["accuracy"], sure, sure, truth, 5).verdict == "not shown"
    wrong = sure.copy()
    wrong[:20] = 1 - wrong[:20]
    assert sharing_of(METRICS["accuracy"], sure, wrong, truth, 5).verdict == "helps"
    assert sharing_of(METRICS["accuracy"], wrong, sure, truth, 5).verdict == "hurts"


def test_numbers_of_very_different_scales_are_said(rows: JointRows) -> None:
    assert scales_sentence(rows) == ()
    price = rows.tasks[0]
    far = replace(price, name="cost in cents", scale=(0.0, price.scale[1] * 100))
    said = scales_sentence(replace(rows, tasks=(price, far)))
    assert said[0].startswith("The numbers of cost in cents vary 100 times as much as those of price: each column is learned in its own")


def test_a_verdict_needs_a_small_p_too() -> None:
    """Of few rows that all differ by the same, the interval is a point: 4 rows are too few to show anything (p = 1/8), 6 are enough."""
    for count, verdict in ((4, "not shown"), (5, "not shown"), (6, "helps")):
        truth = np.arange(count) % 2
        sure = np.eye(2)[truth]
        found = sharing_of(METRICS["accuracy"], sure, 1 - sure, truth, 5)
        assert found.gain.low == 1.0 and found.p == 2 / 2**count and found.verdict == verdict


@pytest.mark.parametrize("name", ["mae", "rmse", "r2", "spearman"])
def test_better_than_guessing_in_the_direction_of_the_metric(rows: JointRows, name: str) -> None:
    """An error is better where it is smaller; a rank correlation is compared with 0, since the mean has no ranks."""
    good = judged_task(rows, 0, {"a": outputs(rows, 0, 0.3)}, 5, metrics={"float": name})
    assert summary_sentence([good]) == "Better than guessing."
    noise = np.full((len(rows), 1), np.nan)
    noise[rows.tasks[0].train] = np.random.default_rng(3).normal(size=(len(rows.tasks[0].train), 1))
    useless = judged_task(rows, 0, {"a": noise}, 5, metrics={"float": name})
    assert summary_sentence([useless]) == "No column is shown to be answered better than by guessing: price."
    assert np.isfinite(good.guessing) and np.isfinite(useless.guessing)


def test_a_log_loss_is_better_where_it_is_smaller(rows: JointRows) -> None:
    good = judged_task(rows, 1, {"a": outputs(rows, 1, 0.3)}, 5, metrics={"class": "log_loss"})
    assert good.guessing == pytest.approx(np.log(2), abs=0.05) and summary_sentence([good]) == "Better than guessing."


def test_a_metric_that_judges_no_column_is_said() -> None:
    assert metrics_by_kind(["auc", "accuracy"]) == {"class": "accuracy", "multi": "auc"}
    assert metrics_by_kind(["auc"], {"multi"}) == {"class": "auc", "multi": "auc"}
    with pytest.raises(InputError, match="no label column is judged by rmse, which is for columns of numbers: leave it out"):
        metrics_by_kind(["auc", "rmse"], {"class", "multi"})
    with pytest.raises(InputError, match="no label column is judged by auc, which is for columns of classes and several labels"):
        metrics_by_kind(["auc", "macro_f1"])
    with pytest.raises(InputError, match="unknown metric 'f1'"):
        metrics_by_kind(["f1"])


def test_rows_that_cannot_be_read_are_named(rows: JointRows) -> None:
    assert left_out_sentence(rows) == ()
    two = (("p/3.png", "broken PNG file"), ("p/7.png", "too short"))
    said = left_out_sentence(replace(rows, left_out=two))
    assert said == ("2 rows were left out, which cannot be read: p/3.png (broken PNG file); p/7.png (too short).",)
    (many,) = left_out_sentence(replace(rows, left_out=2 * two))
    assert many.startswith("4 rows were left out") and many.count("p/3.png") == 2 and many.endswith("; ...")


def test_an_error_that_may_be_as_large_as_that_of_guessing_is_not_better(rows: JointRows) -> None:
    """The whole interval must be below, not its low end or its mean alone."""
    found = judged_task(rows, 0, {"a": outputs(rows, 0, 0.3)}, 5, pair=None, metrics={"float": "mae"})
    straddling = replace(found, guessing=(found.best.value.mean + found.best.value.high) / 2)
    assert found.best.value.mean < straddling.guessing < found.best.value.high
    assert beats_guessing(found) and not beats_guessing(straddling)


def test_rows_that_say_when_to_stop_are_not_trained_on(rows: JointRows) -> None:
    inside, watched = held_back(rows.train, rows, key(0))
    assert not np.intersect1d(inside, watched).size and sorted([*inside, *watched]) == sorted(rows.train)
    assert len(rows.train) / 10 < len(watched) < len(rows.train) / 5
    for task in rows.tasks:
        assert np.isin(task.train, watched).any() and np.isin(task.train, inside).any()


def test_rows_that_are_compared_on_are_learned_from_by_none(rows: JointRows) -> None:
    parted = with_test(rows, 0)
    assert not np.intersect1d(parted.train, parted.test).size and len(parted.test) > len(rows.train) / 8
    for task in parted.tasks:
        assert not np.intersect1d(task.train, task.test).size and len(task.test)
        assert set(task.test) <= set(parted.test)
