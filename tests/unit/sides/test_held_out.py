"""Held-out answers: a row is answered by what never saw its label, and an ensemble is the mean of what its members say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import Ridge

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.learners.folds import Splits
from fewtune.learners.side import Side
from fewtune.learners.target import Target, usable_target
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.recipes.default_learners import candidates
from fewtune.sides import held_out as held_out_file
from fewtune.sides.held_out import HeldOut, held_out, inner_folds, mean_of, outer_splits
from fewtune.sides.progress import Finished
from fewtune.sides.route import Made, Route

LABELS = np.repeat([0, 1, 2], 12)
RIDGE = {"ridge(penalty=2)": read_method("ridge(penalty=2)")}
PLAIN = load_backbone("precomputed", machine=Machine(device="cpu"))


def rows(signal: float, seed: int = 0, labels: Integers = LABELS) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Rows of three classes, `signal` standard deviations apart in a few of 16 dimensions."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), 16))
    return (noise + signal * np.eye(16)[labels]).astype("float32")


def target(signal: float = 1.0, labels: Integers = LABELS) -> Target:
    examples = make_examples(Vectors(rows(signal, labels=labels)), [f"c{k}" for k in labels], name="mine")
    return usable_target(examples, PLAIN, cache=None, skip_bad=False, quiet=True)


def side(signal: float, seed: int = 0) -> Side:
    return Side(PLAIN, torch.from_numpy(rows(signal, seed)))


def always(one: Side, seen: list[Integers] | None = None, learner: str | None = None) -> Route:
    def make(given: Integers) -> Made:
        if seen is not None:
            seen.append(given)
        return Made(one, None)

    return Route("it", "as it came", make, None if learner is None else read_method(learner))


def folds_of(splits: Splits) -> list[tuple[int, Integers, Integers]]:
    """(repeat, rows to learn from, rows to answer) of every fold."""
    assert splits.episodes is not None
    return [
        (int(splits.repeat[e]), *(t[e][t[e] >= 0].numpy() for t in (splits.episodes.support, splits.episodes.query)))
        for e in range(len(splits.episodes))
    ]  # type: ignore[misc]


def test_every_row_is_answered_once_a_repeat_by_what_never_saw_it() -> None:
    mine, seen = target(), list[Integers]()
    splits = outer_splits(mine, 0, 4, 2)
    found = held_out(always(side(1.0), seen), mine, RIDGE, splits, 0)
    assert len(seen) == 8 and found.logits.shape == (2, 36, 3) and not np.isnan(found.logits).any()
    for number in (0, 1):
        held = [np.setdiff1d(np.arange(36), given) for given in seen[4 * number : 4 * number + 4]]
        assert sorted(np.concatenate(held).tolist()) == list(range(36))
        assert found.fold is not None
        assert all(np.array_equal(np.flatnonzero(found.fold[number] == 4 * number + f), rows) for f, rows in enumerate(held))
    assert all(set(LABELS[given]) == {0, 1, 2} for given in seen)
    assert sorted(map(tuple, seen[:4])) != sorted(map(tuple, seen[4:]))  # another repeat has other folds
    assert np.array_equal(found.labels, LABELS)


def test_it_is_said_which_run_of_how_many_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    seconds = iter(range(0, 10_000, 10))  # each look at the clock is ten seconds later

    @contextlib.contextmanager
    def noted(name: str) -> Iterator[None]:
        said.append(name)
        yield

    monkeypatch.setattr(held_out_file, "stage", noted)
    monkeypatch.setattr(held_out_file, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    mine = target()
    held_out(always(side(1.0)), mine, RIDGE, outer_splits(mine, 0, 3, 1), 0)
    assert said == ["judging: it, run 1 of 3", "judging: it, run 2 of 3, about 20 s left", "judging: it, run 3 of 3, about 10 s left"]


def test_a_learner_of_its_own_answers_as_scikit_learn_fitted_on_the_training_fold_does() -> None:
    mine, one = target(), side(1.0)
    splits = outer_splits(mine, 3, 4, 1)
    found = held_out(always(one, learner="ridge(penalty=2)"), mine, {}, splits, 3)
    unit = one.features.double().numpy() / one.features.double().norm(dim=1, keepdim=True).numpy()
    scale = []
    for _, train, held in folds_of(splits):
        twin = Ridge(alpha=2, fit_intercept=False).fit(unit[train], np.eye(3)[LABELS[train]]).predict(unit[held])
        scale.append((found.logits[0, held] / twin).ravel())
    assert np.ptp(np.concatenate(scale)) == pytest.approx(0, abs=1e-3 * np.mean(np.concatenate(scale)))


def test_a_chosen_learner_s_logits_are_divided_by_the_temperature_chosen_with_it() -> None:
    mine, one = target(), side(1.0)
    splits = outer_splits(mine, 0, 4, 1)
    plain = held_out(always(one, learner="ridge(penalty=2)"), mine, {}, splits, 0)
    chosen = held_out(always(one), mine, RIDGE, splits, 0)
    for _, train, held in folds_of(splits):
        temperature = one.choose(RIDGE, train, LABELS[train], mine.class_names, 0).temperature
        assert temperature != pytest.approx(1, abs=0.05)
        np.testing.assert_allclose(chosen.logits[0, held], plain.logits[0, held] / temperature, rtol=1e-6)


def test_rows_of_a_lone_class_are_never_answered_and_labels_go_by_place() -> None:
    """The labelled rows are not the first ones of the data, nor without gaps."""
    labels = np.append(np.repeat([0, 1, 2], 12), 3)
    examples = make_examples(Vectors(rows(2.0, labels=labels)), [None if i in (0, 20) else f"c{k}" for i, k in enumerate(labels)])
    mine = usable_target(examples, PLAIN, cache=None, skip_bad=False, quiet=True)
    found = held_out(always(Side(PLAIN, mine.features)), mine, RIDGE, outer_splits(mine, 0, 4, 1), 0)
    assert found.logits.shape == (1, 35, 4)
    assert np.isnan(found.correct).tolist() == [False] * 34 + [True]
    assert np.nanmean(found.correct) > 0.7  # labels of other rows would give a third
    assert np.array_equal(found.labels, mine.labels[mine.support])


def made(random: np.random.Generator, *, repeats: int = 2, scale: float = 3.0) -> HeldOut:
    labels = np.repeat([0, 1, 2], 10)
    logits = scale * (np.eye(3)[labels] + random.normal(size=(repeats, 30, 3)))
    logits[0, 4] = logits[1, 5] = np.nan
    return HeldOut(logits, labels)


def test_the_temperature_is_that_of_the_least_log_loss() -> None:
    one = made(np.random.default_rng(0))
    known = ~np.isnan(one.logits[:, :, 0])
    share = 1 / (known.sum() + 2)  # of a target that goes to all classes

    def loss(log_t: float) -> float:
        logs = log_softmax(one.logits / np.exp(log_t), axis=2)
        return -float(np.mean([(1 - share) * logs[r, n, one.labels[n]] + share * logs[r, n].mean() for r, n in np.argwhere(known)]))

    best = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}).x))
    assert one.temperature == pytest.approx(best, rel=1e-3)
    np.testing.assert_allclose(one.log_probabilities, log_softmax(one.logits / one.temperature, axis=2), rtol=1e-9)


def test_answers_to_a_fold_are_calibrated_by_the_other_folds_alone() -> None:
    """By the temperature of the least log-loss on all answers to rows outside it; so the labels of a fold have no say in what is made of
    its answers. What is saved takes the temperature of all of them."""
    random = np.random.default_rng(3)
    one = made(random)
    fold = np.stack([np.arange(30) % 3, 3 + (np.arange(30) // 10)])
    judged = HeldOut(one.logits, one.labels, fold)
    assert judged.temperature == one.temperature
    for number in range(6):
        repeat, inside = number // 3, fold[number // 3] == number
        outside = one.logits.copy()
        outside[:, inside] = np.nan
        temperature = HeldOut(outside, one.labels).temperature
        assert temperature != pytest.approx(one.temperature, rel=1e-3)
        expected = log_softmax(one.logits[repeat, inside] / temperature, axis=1)
        np.testing.assert_allclose(judged.log_probabilities[repeat, inside], expected, rtol=1e-9)
    for number in range(3):
        others = one.labels.copy()
        others[fold[0] == number] = (others[fold[0] == number] + 1) % 3
        again = HeldOut(one.logits, others, fold)
        np.testing.assert_array_equal(again.log_probabilities[0, fold[0] == number], judged.log_probabilities[0, fold[0] == number])
    assert not np.array_equal(mean_of([judged, judged]).logits, mean_of([one, one]).logits, equal_nan=True)


def test_correctness_is_the_mean_over_the_repeats_that_answered() -> None:
    one = made(np.random.default_rng(1))
    right = np.where(np.isnan(one.logits[:, :, 0]), np.nan, one.logits.argmax(2) == one.labels)
    np.testing.assert_array_equal(one.correct, np.nanmean(right, axis=0))
    assert 0.5 in one.correct and len(one.answers.item) == 58


def test_an_ensemble_is_the_mean_of_calibrated_log_probabilities() -> None:
    """A member that is only bolder, with all logits ten times as large, has no more to say."""
    random = np.random.default_rng(2)
    first, second = made(random), made(random)
    both = mean_of([first, second])
    np.testing.assert_allclose(both.logits, (first.log_probabilities + second.log_probabilities) / 2, rtol=1e-12)
    bold = HeldOut(10 * first.logits, first.labels)
    np.testing.assert_allclose(mean_of([bold, second]).logits, both.logits, rtol=1e-3, atol=1e-3)
    assert np.array_equal(both.labels, first.labels)


def test_many_rows_choose_by_fewer_folds() -> None:
    assert (inner_folds(1_000), inner_folds(1_001)) == (5, 2)


def test_chance_is_rarely_shown_to_help() -> None:
    """Two sides that differ by chance alone, of which one in twenty may pass."""
    from fewtune.sides.compared import Compared
    from fewtune.sides.route import FROZEN

    mine, few, kept = target(1.5), {"centroid": candidates(label_side=False, modality="vector")["centroid"]}, 0
    for seed in range(40):
        splits = outer_splits(mine, seed, 4, 1)
        before, after = (held_out(always(side(1.5, seed=2 * seed + i), learner="centroid"), mine, few, splits, seed) for i in (0, 1))
        kept += Compared({FROZEN: before, "own labels": after}, rule="shown").kept != FROZEN
    assert kept <= 7  # the 99.8% quantile of 40 draws at 6%


def test_a_stopped_comparison_goes_on_with_the_folds_that_were_answered(tmp_path: Path) -> None:
    """The answers are those of an unbroken run; another seed, side or method has answers of its own; a damaged file is no answer."""
    mine, one = target(), side(1.0)
    splits = outer_splits(mine, 0, 4, 1)
    whole = held_out(always(one), mine, RIDGE, splits, 0)

    def going(most: int, seen: list[Integers], name: str = "key", seed: int = 0) -> HeldOut:
        def make(rows: Integers) -> Made:
            if len(seen) == most:
                raise KeyboardInterrupt
            seen.append(rows)
            return Made(one, None)

        return held_out(Route("it", "as it came", make, None, name), mine, RIDGE, splits, seed, Finished(tmp_path / "kept"))

    first, rest = list[Integers](), list[Integers]()
    with pytest.raises(KeyboardInterrupt):
        going(3, first)
    np.testing.assert_array_equal(going(9, rest).logits, whole.logits)
    assert (len(first), len(rest)) == (3, 1)
    for name, seed in (("other", 0), ("key", 1)):
        again = list[Integers]()
        going(9, again, name, seed)
        assert len(again) == 4
    for file in (tmp_path / "kept").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-3])
    damaged = list[Integers]()
    np.testing.assert_array_equal(going(9, damaged).logits, whole.logits)
    assert len(damaged) == 4


def test_only_a_folder_of_its_own_is_removed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.jpg").write_bytes(b"mine")
    Finished(tmp_path / "other").clear()
    assert (tmp_path / "other" / "photo.jpg").is_file()
    Finished(tmp_path / "kept").keep("what", torch.ones(2, 3))
    assert torch.equal(Finished(tmp_path / "kept").find("what"), torch.ones(2, 3)) and Finished(tmp_path / "kept").find("else") is None  # type: ignore[arg-type]
    Finished(tmp_path / "kept").clear()
    assert not (tmp_path / "kept").exists() and Finished().find("what") is None
