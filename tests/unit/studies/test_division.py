"""Which rows and classes a seed trains on, chooses by and is tested on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.data.examples import TEST, TRAIN, VALIDATION
from fewtune.data.splits import split_classes
from fewtune.errors import InputError
from fewtune.studies.mamf.division import divide
from tests.unit.studies.mamf_grounds import sentences, small_settings


def test_rows_are_disjoint_and_as_many_of_each_class() -> None:
    found = divide(sentences(24), small_settings(), 0)
    assert (found.rows, found.classes) == (8, 4)
    contents = [set(part.row_digests) for part in (found.train, found.dev, found.test)]
    assert [len(one) for one in contents] == [32, 24, 24] and len(set.union(*contents)) == 80
    for part, each, code in ((found.train, 8, TRAIN), (found.dev, 6, VALIDATION), (found.test, 6, TEST)):
        assert part.counts().tolist() == [each] * 4 and part.class_split.tolist() == [code] * 4


def test_each_seed_draws_its_own_rows_and_classes_and_always_the_same() -> None:
    data, three = sentences(24), small_settings(classes=3)
    a, b, again = divide(data, three, 0), divide(data, three, 1), divide(data, three, 0)
    assert a.train.row_digests == again.train.row_digests != b.train.row_digests
    drawn = {divide(data, three, seed).train.class_names for seed in range(12)}
    assert len(drawn) > 1 and all(len(names) == 3 for names in drawn)


def test_training_takes_what_dev_and_test_leave() -> None:
    assert divide(sentences(18), small_settings(), 0).rows == 6
    assert divide(sentences(19), small_settings(), 0).rows == 7


def test_a_row_that_is_there_twice_counts_once() -> None:
    data = sentences(24)
    twice = data.take(np.concatenate([np.arange(len(data)), np.arange(len(data))]))
    found = divide(twice, small_settings(rows=60), 0)
    assert found.rows == 12  # and not 36
    assert not set(found.train.row_digests) & (set(found.dev.row_digests) | set(found.test.row_digests))


def test_classes_can_be_divided_instead() -> None:
    names = ("cat", "dog", "bird", "mat", "red", "blue", "big", "small")
    data = split_classes(sentences(12, classes=names), fractions=(0.5, 0.25, 0.25))
    found = divide(data, small_settings(ways=(2,), split="classes"), 0)
    parts = [set(part.class_names) for part in (found.train, found.dev, found.test)]
    assert [len(part) for part in parts] == [4, 2, 2] and len(set.union(*parts)) == 8 and found.rows == 8


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    data = sentences(12)
    with pytest.raises(InputError, match=r"18 different rows of a class .* 0 of 4 classes have them, expected 3 \('cat' has 12\)"):
        divide(data, small_settings(), 0)
    with pytest.raises(InputError, match=r"has 4 classes, but tasks of N = 5"):
        divide(sentences(24), small_settings(ways=(5,)), 0)
    with pytest.raises(InputError, match=r"N = 4 classes are asked for among M = 3"):
        divide(sentences(24), small_settings(ways=(4,), classes=3), 0)
    with pytest.raises(InputError, match=r"no train, dev and test classes"):
        divide(data, small_settings(split="classes"), 0)
    half = replace(data, class_split=np.array([TRAIN, TRAIN, TEST, TEST]))
    with pytest.raises(InputError, match=r"has 0 dev classes"):
        divide(half, small_settings(ways=(2,), split="classes"), 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ways": (1,)}, "at least 2"),
        ({"ways": (3, 3)}, "distinct"),
        ({"seeds": ()}, "distinct seeds"),
        ({"shots": 0}, "shots of at least 1"),
        ({"prompts": ("a photo",)}, "has one {}"),
        ({"budgets": "paper"}, "leave out the number of visits"),
        ({"split": "none"}, "split is"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small_settings(**given)
