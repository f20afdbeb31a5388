"""Shifts made from any image collection: blocks, corruptions, subgroups, shares of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Pixels, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.data.shifts import CORRUPTIONS, block_shuffled, corrupted, each_shifted, held_out_subgroups, reweighted, shifted
from fewtune.data.views.blocks import block_order, shuffled
from fewtune.data.views.views import BlockShuffle
from fewtune.errors import InputError
from tests.tiny import images

NAMES = ["cat", "dog", "oak", "elm", "rose"]


def photos(count: int = 10, *, groups: list[str] | None = None) -> Examples:
    labels = np.arange(count) % 5
    grain = np.random.default_rng(1).integers(0, 64, (count, 112, 140, 3), dtype=np.uint8)  # something sharp, that a weak blur changes
    return make_examples(Pixels(images(count, height=112, width=140) // 2 + grain), labels, name="photos", class_names=NAMES, groups=groups)


def pixels(examples: Examples, row: int) -> np.ndarray:
    return np.asarray(examples.items.fetch(row))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(size=st.integers(1, 9), height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_blocks_are_moved_whole_and_alike_in_all_images(size: int, height: int, width: int, seed: int) -> None:
    marks = torch.arange(height * width).view(1, 1, height, width).repeat(2, 3, 1, 1).float()
    found = shuffled(BlockShuffle(size=size, seed=seed), marks)
    assert torch.equal(found[0], found[1])
    assert sorted(found[0, 0].flatten().tolist()) == sorted(marks[0, 0].flatten().tolist())
    rows, columns = height // size, width // size
    order = block_order(size, height, width, seed).tolist()
    assert sorted(order) == list(range(rows * columns))
    for place, block in enumerate(order):
        (r, c), (i, j) = divmod(place, columns), divmod(block, columns)
        here = found[0, 0, r * size : (r + 1) * size, c * size : (c + 1) * size]
        assert torch.equal(here, marks[0, 0, i * size : (i + 1) * size, j * size : (j + 1) * size])
    assert torch.equal(found[..., rows * size :, :], marks[..., rows * size :, :])
    if rows * columns > 1:
        assert not torch.equal(found, marks)
    else:
        assert torch.equal(found, marks)


def test_a_block_shuffle_is_a_view_that_needs_no_key() -> None:
    from fewtune.backbones.load import load_backbone

    backbone = load_backbone("pixels")
    space = RowSpace([photos(4)])
    rows = np.arange(4)
    plain, mixed = (backbone.embed(backbone.start(), space, rows, *view) for view in ((), (BlockShuffle(size=1),)))
    assert not torch.equal(plain, mixed)
    torch.testing.assert_close(mixed.sort(1).values, plain.sort(1).values)  # the same pixels in another order
    again = backbone.embed(backbone.start(), space, rows[2:], BlockShuffle(size=1))
    assert torch.equal(again, mixed[2:])
    with pytest.raises(InputError, match="at least 1 pixel"):
        BlockShuffle(size=0)


def test_a_shuffled_collection_is_the_view_at_its_size() -> None:
    whole = photos(3)
    made = block_shuffled(whole, 4, side=16)
    square = np.asarray(whole.items.fetch(1).resize((16, 16), 3))  # bicubic
    expected = shuffled(BlockShuffle(size=4), torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(made, 1), expected)
    assert np.array_equal(pixels(block_shuffled(whole, 16, side=16), 1), square)
    assert made.digest() != whole.digest() != block_shuffled(whole, 8, side=16).digest() != made.digest()
    with pytest.raises(InputError):
        block_shuffled(whole, 17, side=16)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity_and_belongs_to_the_image(kind: str) -> None:
    whole = photos(4)
    off = [np.abs(pixels(corrupted(whole, kind, s), 2).astype(float) - pixels(whole, 2)).mean() for s in (1, 5)]
    assert 0 < off[0] < off[1]
    made = corrupted(whole, kind, 3)
    assert np.array_equal(pixels(made, 2), pixels(made.take([3, 2]), 1))
    assert np.array_equal(pixels(made, 2), pixels(corrupted(whole.take([2]), kind, 3), 0))
    assert made.labels.tolist() == whole.labels.tolist() and pixels(made, 2).shape == pixels(whole, 2).shape
    assert made.items.digest(2) != whole.items.digest(2)


def test_noise_has_its_seed_and_its_spread() -> None:
    grey = make_examples(Pixels(np.full((1, 60, 60, 3), 128, dtype=np.uint8)), [0], class_names=["a"])
    found = pixels(corrupted(grey, "gaussian_noise", 1), 0) / 255
    assert found.std() == pytest.approx(0.08, rel=0.05) and found.mean() == pytest.approx(128 / 255, abs=0.005)
    assert not np.array_equal(pixels(corrupted(grey, "gaussian_noise", 1, seed=1), 0) / 255, found)
    flipped = pixels(corrupted(grey, "impulse_noise", 5), 0)
    assert np.mean(flipped != 128) == pytest.approx(0.27, abs=0.02) and {*np.unique(flipped)} == {0, 128, 255}
    assert np.array_equal(pixels(corrupted(grey, "contrast", 5), 0), pixels(grey, 0))


def test_odd_corruptions() -> None:
    vectors = make_examples(Vectors(np.zeros((2, 3), dtype=np.float32)), [0, 1], class_names=["a", "b"])
    for odd, sentence in (
        (lambda: corrupted(photos(), "gausian_noise"), "gaussian_noise"),
        (lambda: corrupted(photos(), "blur", 6), "from 1"),
        (lambda: corrupted(vectors, "blur"), "expected images"),
    ):
        with pytest.raises(InputError, match=sentence):
            odd()


def test_subgroups_are_held_out_within_new_classes() -> None:
    whole = photos(20)
    source, target = held_out_subgroups(whole, {"animal": ["cat", "dog"], "plant": ["oak", "elm", "rose"]})
    assert source.class_names == target.class_names == ("animal", "plant")
    assert len(source) + len(target) == 20

    def inside(part: Examples) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for row, label in zip(part.row_names, part.labels, strict=True):
            found.setdefault(part.class_names[label], set()).add(NAMES[int(row.split(":")[1]) % 5])
        return found

    seen, held = inside(source), inside(target)
    assert not seen["animal"] & held["animal"] and not seen["plant"] & held["plant"]
    assert seen["animal"] | held["animal"] == {"cat", "dog"} and seen["plant"] | held["plant"] == {"oak", "elm", "rose"}
    assert held_out_subgroups(whole, {"animal": ["cat", "dog"], "plant": ["oak", "elm", "rose"]})[1].row_names == target.row_names


def test_groups_are_subgroups_of_every_class() -> None:
    whole = photos(20, groups=["day", "night", "fog", "day"] * 5)
    source, target = held_out_subgroups(whole, share=0.3)
    assert len({*source.group} & {*target.group}) == 0 and len(source) + len(target) == 20
    assert {*target.labels} == {*source.labels} == {*whole.labels}
    with pytest.raises(InputError, match=r"photos has no groups: expected at least two groups.*--group NAME"):
        shifted(photos(), "subgroups")
    with pytest.raises(InputError, match="photos has one group"):
        held_out_subgroups(photos(20, groups=["day"] * 20))


def test_groups_that_classes_do_not_share_are_refused() -> None:
    with pytest.raises(InputError, match=r"all groups of class '\w+' of photos are (held out|kept): expected groups that"):
        held_out_subgroups(photos(20, groups=["a", "b", "c", "d", "e"] * 4))  # as many groups as classes, one for each


def test_odd_subgroups() -> None:
    for members, sentence in (
        ({"a": ["cat"]}, "at least two"),
        ({"a": ["cat", "dog"], "b": ["dog", "oak"]}, "two classes"),
        ({"a": ["cat", "dgo"]}, "dog"),
    ):
        with pytest.raises(InputError, match=sentence):
            held_out_subgroups(photos(), members)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_shares_are_reached_with_as_many_rows_as_there_are(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 200)
    whole = make_examples(Vectors(random.standard_normal((200, 2)).astype(np.float32)), labels, class_names=NAMES)
    asked = random.integers(1, 6, 5).astype(float)
    counts, had = reweighted(whole, asked.tolist()).counts(), whole.counts()
    assert (counts <= had).all() and (counts == had).any()  # one class gives all it has
    np.testing.assert_allclose(counts, asked * (had / asked).min(), atol=1)


def test_shares_by_name_and_their_seed() -> None:
    whole = photos(50)
    made = reweighted(whole, {"cat": 2.0, "dog": 1.0})
    assert made.counts().tolist() == [10, 5, 0, 0, 0] and made.class_names == whole.class_names
    assert made.row_names == reweighted(whole, {"cat": 2.0, "dog": 1.0}).row_names
    assert made.row_names != reweighted(whole, {"cat": 2.0, "dog": 1.0}, seed=1).row_names
    for odd in ({"cat": -1.0}, {"cta": 1.0}, [1.0, 2.0], {}):
        with pytest.raises(InputError):
            reweighted(whole, odd)


def test_shifts_by_their_names_are_those_of_the_functions() -> None:
    whole = photos(20, groups=["a", "b", "c", "d"] * 5)
    for word, same in (
        ("blur:5", corrupted(whole, "blur", 5)),
        ("blur", corrupted(whole, "blur", 3)),
        ("blocks:16", block_shuffled(whole, 16, 64)),
        ("shares:cat=3,oak=0", reweighted(whole, {"cat": 3, "dog": 1, "oak": 0, "elm": 1, "rose": 1})),
        ("subgroups:0.25", held_out_subgroups(whole, share=0.25)[1]),
        ("subgroups", held_out_subgroups(whole)[1]),
    ):
        found = shifted(whole, word, side=64)
        assert found.name == same.name and found.row_digests == same.row_digests and found.labels.tolist() == same.labels.tolist(), word


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("blurr:3", "unknown shift 'blurr'"),
        ("blur:x", "a whole number after the colon, found 'x'"),
        ("blur:9", "severity goes from 1"),
        ("blocks:", "a whole number after the colon"),
        ("shares:cat", "shares:CLASS=NUMBER"),
        ("shares:cow=2", "unknown class 'cow'"),
        ("subgroups:half", "a number after the colon"),
    ],
)
def test_what_is_no_shift_is_said_in_a_sentence(word: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        shifted(photos(), word)
    with pytest.raises(InputError, match="given twice"):
        each_shifted(photos(), ["blur", "blur"])
