"""The verdict by its rules: which light, which words, which three things to do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.adaptation.verdict import Verdict, verdict_of
from fewtune.learners.choice import Answers
from fewtune.sides.route import FROZEN
from fewtune.statistics import Interval

NAN = float("nan")


def interval(mean: float, low: float, high: float, n: int = 48) -> Interval:
    return Interval(mean, low, high, 0.95, n, "bootstrap")


def made(
    accuracy: Interval | None,
    recall: list[float],
    *,
    shots: list[int] | None = None,
    measured: Interval | None = None,
    wrong: tuple[int, ...] = (),
    modality: str = "image",
    finetuned: Any = None,
    unestimated: tuple[int, ...] = (),
    wanted: float = 0.0,
    strength: float = 5.0,
) -> Verdict:
    """A verdict on classes a, b, c, ... of which each label is answered surely, and those of `wrong` surely as another class."""
    ways = len(recall)
    shots = shots or [8] * ways
    labels = np.repeat(np.arange(ways), shots)
    answered = labels.copy()
    answered[list(wrong)] = (answered[list(wrong)] + 1) % ways
    logits = torch.nn.functional.one_hot(torch.from_numpy(answered), ways) * strength
    logits[list(wrong)] *= 1.5
    confusion = np.zeros((ways, ways))
    for k, right in enumerate(recall):
        confusion[k, k], confusion[k, (k + 1) % ways] = shots[k] * np.nan_to_num(right), shots[k] * (1 - np.nan_to_num(right))
    choice: Any = SimpleNamespace(
        expected=accuracy, recall=np.array(recall), confusion=confusion, temperature=1.0, unestimated=unestimated,
        answers=None if accuracy is None else Answers(logits, np.arange(len(labels))),
    )  # fmt: skip
    target: Any = SimpleNamespace(
        class_names=tuple("abcdefghijklmnopqrst"[:ways]), shots=lambda: np.array(shots), support=np.arange(len(labels)), labels=labels,
        examples=SimpleNamespace(modality=modality, row_names=tuple(f"{i}.jpg" for i in range(len(labels)))),
    )  # fmt: skip
    frozen = SimpleNamespace(side=SimpleNamespace(backbone=SimpleNamespace(groups=("g",))))
    used = finetuned or SimpleNamespace(compared=None, guard=None, why="", sources=None, frozen=frozen)
    return verdict_of(choice, target, measured, used, wanted)


def test_the_first_line_counts_of_ten_and_names_guessing() -> None:
    said = made(interval(0.9, 0.81, 0.97), [0.9] * 6)
    assert said.sentence == "About 9 of 10 new photos will be right (8 to 10 of 10); guessing would get 1 of 6."
    assert said.sentences[0] == said.sentence and said.guessing == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    "accuracy, said",
    [
        (interval(0.7, 0.62, 0.78), "About 7 of 10 new texts will be right (6 to 8 of 10)"),
        (interval(0.66, 0.59, 0.74), "About 7 of 10 new texts will be right (5 to 7 of 10)"),  # no more than it is
        (interval(0.7, 0.7, 0.9), "About 7 of 10 new texts will be right (7 to 9 of 10)"),
        (interval(0.97, 0.85, 0.99), "About 97 of 100 new texts will be right (85 to 99 of 100)"),  # not 10 of 10
        (interval(0.842, 0.8, 0.88), "About 84 of 100 new texts will be right (80 to 88 of 100)"),  # narrow: ten are too coarse
        (interval(0.06, 0.02, 0.17), "About 6 of 100 new texts will be right (2 to 17 of 100)"),
    ],
)
def test_ten_or_a_hundred(accuracy: Interval, said: str) -> None:
    assert made(accuracy, [0.9] * 4, modality="text").sentence == f"{said}; guessing would get 1 of 4."


@pytest.mark.parametrize(
    "accuracy, recall, light",
    [
        (interval(0.95, 0.86, 0.98), [0.9] * 6, "ready"),  # (.86 - 1/6) / (5/6) = .832
        (interval(0.95, 0.83, 0.98), [0.9] * 6, "review"),  # .796
        (interval(0.95, 0.86, 0.98), [0.9] * 5 + [0.69], "review"),  # a weak class
        (interval(0.95, 0.86, 0.98), [0.9] * 5 + [0.7], "ready"),
        (interval(0.59, 0.4, 0.7), [0.9] * 6, "review"),  # (.59 - 1/6) / (5/6) = .508
        (interval(0.58, 0.4, 0.7), [0.9] * 6, "not ready"),  # .496
        (interval(0.9, 0.49, 0.98), [0.9] * 2, "not ready"),  # it may be no better than guessing one of two
        (interval(0.47, 0.4, 0.55), [0.5] * 20, "not ready"),
    ],
)
def test_the_light(accuracy: Interval, recall: list[float], light: str) -> None:
    assert made(accuracy, recall).light == light


def test_one_class_that_is_much_larger_is_the_better_guess() -> None:
    said = made(interval(0.85, 0.81, 0.96), [0.9, 0.9], shots=[32, 8])
    assert said.sentence.endswith("always saying “a” would get 8 of 10.") and said.guessing == 0.8 and said.light == "not ready"


def test_a_measurement_on_test_examples_counts_more_than_the_estimate() -> None:
    test = interval(0.8, 0.76, 0.84, n=464)
    assert made(interval(0.95, 0.86, 0.98), [0.9] * 6, measured=test).accuracy is test
    assert "Measured on the 464 photos of your test split" in made(interval(0.95, 0.86, 0.98), [0.9] * 6, measured=test).basis
    few = interval(0.8, 0.5, 0.9, n=29)
    assert made(interval(0.95, 0.86, 0.98), [0.9] * 6, measured=few).accuracy != few


def test_nothing_could_be_tested() -> None:
    said = made(None, [NAN, NAN], shots=[1, 1], unestimated=(0, 1))
    assert said.light == "unknown" and said.headline == "Not tested" and "guessing would get 1 of 2" in said.sentence
    assert said.actions[0].startswith("Label more photos of each class") and said.actions[-1].startswith("Type: fewtune predict RUN")


def test_a_class_with_a_single_example_is_not_ready() -> None:
    said = made(interval(0.99, 0.95, 1.0), [1.0, 1.0, NAN], shots=[8, 8, 1], unestimated=(2,))
    assert said.light == "review" and "one class has a single example" in said.reason


def test_what_to_do_next() -> None:
    said = made(interval(0.95, 0.86, 0.98), [0.9, 0.75, 1.0, 0.9, 0.9, 0.9], wrong=(0, 3))
    assert said.actions == (
        "Look at these 2 photos, their labels may be wrong: 0.jpg, 3.jpg.",
        "Add 8 photos of “b”, the weakest class (75% of 8 are right, most often taken for “c”).",
        "Type: fewtune predict RUN NEW_FILES_OR_FOLDERS",
    )
    assert said.to_do("'my run'")[-1] == "Type: fewtune predict 'my run' NEW_FILES_OR_FOLDERS"
    named = replace(said, actions=("Look at one photo, its label may be wrong: my RUN .jpg.", said.actions[-1]))
    assert (
        named.to_do("x") == (named.actions[0], "Type: fewtune predict x NEW_FILES_OR_FOLDERS")
        and replace(said, actions=()).to_do("x") == ()
    )
    many = made(interval(0.95, 0.86, 0.98), [0.9] * 6, wrong=tuple(range(0, 40, 8)))
    assert many.actions[0].endswith("0.jpg, 8.jpg, 16.jpg and 2 more.")


def test_a_model_that_is_often_wrong_doubts_labels_only_where_it_is_sure() -> None:
    unsure = made(interval(0.7, 0.6, 0.79), [0.7] * 6, wrong=(0, 3), strength=1.5)
    assert not any("labels may be wrong" in action for action in unsure.actions)
    said = made(interval(0.7, 0.6, 0.79), [0.7] * 6, wrong=(0, 3))
    assert said.actions[0] == "Look at these 2 photos, their labels may be wrong: 0.jpg, 3.jpg."  # these it is sure of
    said = made(interval(0.7, 0.6, 0.79), [1.0] * 6)
    assert any("--source DATA" in action for action in said.actions) and said.actions[-1].startswith("Test it on photos that you label")


def test_other_data_is_asked_for_unless_it_was_given_or_nothing_could_be_finetuned() -> None:
    for sources, groups, asked in ((None, ("g",), True), (object(), ("g",), False), (None, (), False)):
        frozen = SimpleNamespace(side=SimpleNamespace(backbone=SimpleNamespace(groups=groups)))
        used = SimpleNamespace(compared=None, guard=None, why="", sources=sources, frozen=frozen)
        said = made(interval(0.7, 0.6, 0.79), [1.0] * 6, finetuned=used)
        assert any("--source DATA" in action for action in said.actions) == asked


def test_more_time_is_asked_for_where_it_may_help() -> None:
    said = made(interval(0.7, 0.6, 0.79), [1.0] * 6, wanted=9.0)
    assert said.actions[0].startswith("Give it more time, finetuning may help: --budget minutes=9")
    assert not any("more time" in action for action in made(interval(0.95, 0.86, 0.98), [1.0] * 6, wanted=9.0).actions)


@pytest.mark.parametrize(
    "kept, shown, words",
    [
        ("own", True, "Finetuning helped: about 5 more of 100 photos are right."),
        ("own", False, "Finetuning probably helped: about 5 more of 100 photos were right, which so few examples cannot prove."),
        (FROZEN, False, "Finetuning was tried and did not show that it helps, so the backbone is used as it came."),
    ],
)
def test_whether_finetuning_helped(kept: str, shown: bool, words: str) -> None:
    compared = SimpleNamespace(kept=kept, shown=shown, why_lost="")
    frozen = SimpleNamespace(side=SimpleNamespace(backbone=SimpleNamespace(groups=("g",))))
    used = SimpleNamespace(compared=compared, guard=SimpleNamespace(finetuned=0.85, frozen=0.8), why="", sources=None, frozen=frozen)
    assert made(interval(0.95, 0.86, 0.98), [0.9] * 6, finetuned=used).finetuning == words


@pytest.mark.parametrize(
    "finetuned, words",
    [
        (0.806, "about 1 more of 100"),
        (0.803, "about as many were right as without it"),
        (0.77, "about 3 fewer of 100 were right than without"),
    ],
)
def test_what_is_no_gain_in_accuracy_is_not_called_one(finetuned: float, words: str) -> None:
    compared, frozen = SimpleNamespace(kept="own", shown=False, why_lost=""), SimpleNamespace(side=None)
    used = SimpleNamespace(compared=compared, guard=SimpleNamespace(finetuned=finetuned, frozen=0.8), why="", sources=0, frozen=frozen)
    said = made(interval(0.95, 0.86, 0.98), [0.9] * 6, finetuned=used).finetuning
    assert words in said and said.startswith("Finetuning probably helped" if "more" in words else "Finetuning may have helped")
