"""Leaks between the sources and a target, planted one by one; each is found by the strongest evidence there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts, Vectors
from fewtune.data.near import Leak, embedding_threshold, find_leaks, without_leaks
from fewtune.data.near.leaks import FARTHEST
from fewtune.errors import InputError
from tests.unit.data.test_near import COPIES, encoded, scenes


def named(examples: Examples, name: str) -> Examples:
    return make_examples(examples.items, name=name)


def test_images_by_content_by_look_and_by_embedding() -> None:
    images = scenes(30)
    target = named(encoded(images[:10]), "target")
    first = named(encoded([images[20], images[3], images[21]]), "first")  # the same bytes
    second = named(encoded([COPIES["jpeg"](images[4]), images[22], images[5].rotate(180), images[23]]), "second")
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 40)))
    near = x[[20, 3, 21, 4, 22, 5, 23]].clone()
    near[5] += 0.02  # turned upside down: the hash does not see it, the network does
    near[6] = float("nan")  # not embedded
    leaks = find_leaks(target, [first, second], target_features=x[:10], source_features=near)
    assert [(k.source, k.row, k.target, k.how) for k in leaks] == [
        ("first", 1, 3, "content"),
        ("second", 0, 4, "perceptual hash"),
        ("second", 2, 5, "embedding"),
    ]
    assert leaks[0].distance == 0 and leaks[1].distance <= 8 and 0 < leaks[2].distance <= FARTHEST
    assert [(k.source, k.row) for k in find_leaks(target, [first, second])] == [("first", 1), ("second", 0)]
    clean = without_leaks(second, leaks)
    assert clean.row_names == [second.row_names[1], second.row_names[3]]
    untouched = named(second, "third")
    assert without_leaks(untouched, leaks) is untouched


def test_only_the_rows_asked_for_are_looked_at() -> None:
    target = make_examples(Texts(["set an alarm at five", "play some music for me", "what is the weather like"]), name="target")
    sources = [
        make_examples(Texts(["unlike any other", "Play some music, for me!"]), name="a"),
        make_examples(Texts(["set an alarm at five", "what is the weather like now"]), name="b"),
    ]
    every = find_leaks(target, sources)
    assert every == (
        Leak("b", 0, 0, "content", 0.0),
        Leak("a", 1, 1, "text", 0.0),
        Leak("b", 1, 2, "text", pytest.approx(1 - 22 / 26)),  # type: ignore[arg-type]  # 22 shingles against 26
    )
    some = find_leaks(target, sources, np.array([1, 2]), np.array([3, 1]))
    assert [(k.source, k.row, k.target) for k in some] == [("a", 1, 1), ("b", 1, 2)]
    # features come in the order of the rows asked for
    x = torch.eye(3)
    found = find_leaks(target, sources, np.array([2]), np.array([2, 0]), target_features=x[:1], source_features=x[[1, 0]])
    assert [(k.source, k.row, k.how, k.distance) for k in found] == [("a", 0, "embedding", 0.0)]
    turned = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1e-2, 0.0]])  # one target row alone says nothing of how near is near
    assert find_leaks(target, sources, np.array([2]), np.array([2, 0]), target_features=x[:1], source_features=turned) == ()
    with pytest.raises(InputError, match="expected features of 3 target and 4 source rows, found 3 and 2"):
        find_leaks(target, sources, target_features=x, source_features=x[:2])


def test_vectors_by_content_and_by_direction() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 16)).astype(np.float32)
    target = make_examples(Vectors(x), name="target")
    other = random.normal(size=(200, 16)).astype(np.float32)
    other[7], other[9] = x[1], 3 * x[2]
    sources = make_examples(Vectors(other), name="pool")
    leaks = find_leaks(target, [sources], target_features=torch.from_numpy(x), source_features=torch.from_numpy(other))
    assert [(k.row, k.target, k.how) for k in leaks] == [(7, 1, "content"), (9, 2, "embedding")]


def test_a_tight_space_of_embeddings_does_not_make_everything_a_leak() -> None:
    """All rows within a cosine distance of 0.02 of each other: still only the copy is one."""
    random = np.random.default_rng(0)

    def tight(count: int) -> torch.Tensor:
        return torch.from_numpy(np.eye(64)[0] + 0.012 * random.normal(size=(count, 64)))

    target, sources = tight(60), tight(300)
    sources[5] = target[8] + 0.001 * torch.from_numpy(random.normal(size=64))
    unit = torch.nn.functional.normalize(target, dim=1)
    distance = 1 - unit @ unit.T + 9 * torch.eye(60)
    assert embedding_threshold(target) == pytest.approx(0.25 * float(distance.amin(1).median()), rel=1e-3)
    blank = [make_examples(Texts([f"{word} {i}" for i in range(n)]), name=word) for word, n in (("apple", 60), ("pear", 300))]
    leaks = find_leaks(blank[0], blank[1:], target_features=target, source_features=sources)
    assert [(k.row, k.target, k.how) for k in leaks] == [(5, 8, "embedding")]
    wide = torch.eye(20)
    assert embedding_threshold(wide) == FARTHEST and embedding_threshold(wide[:1]) == 0 and embedding_threshold(wide[:0]) == 0


def test_a_series_of_alike_rows_names_a_few_of_them() -> None:
    target = make_examples(Texts(["good morning to you"] * 40), name="target")
    sources = make_examples(Texts(["good morning to you"] * 30), name="pool")
    leaks = find_leaks(target, [sources])
    assert len(leaks) == 30 * 5 and {k.row for k in leaks} == set(range(30)) and all(math.isclose(k.distance, 0) for k in leaks)


def test_refusals_and_nothing_at_all() -> None:
    target = make_examples(Texts(["one", "two"]), name="target")
    assert find_leaks(target, []) == ()
    with pytest.raises(InputError, match="different names"):
        find_leaks(target, [target, target])
    with pytest.raises(InputError, match="one modality"):
        find_leaks(target, [make_examples(Vectors(np.zeros((1, 2), dtype=np.float32)))])
    assert find_leaks(target.take([]), [target]) == ()
