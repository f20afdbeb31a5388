"""Rotations: quarter turns of images as classes of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.backbones.features.readable import readable_features
from fewtune.backbones.load import load_backbone
from fewtune.data.audit import inspect_examples
from fewtune.data.examples import TEST, TRAIN, Column, Examples, class_splits, make_examples
from fewtune.data.items import Pixels, Texts
from fewtune.data.reading.folders import read_folder
from fewtune.data.rotations import rotated, turn_of, unturned
from fewtune.data.row_space import RowSpace
from fewtune.data.splits import held_out, split_classes
from fewtune.errors import InputError
from fewtune.machine import Machine
from tests.tiny import images, vector_space

NAMES = ("a", "b", "c")


def pictures(**options: Any) -> Examples:
    labels = np.array([0, 1, 2, 0, 1, -1])
    return replace(make_examples(Pixels(images(6)), labels, class_names=NAMES, groups=["g", "h", None, "g", "h", "g"]), **options)


def seen(examples: Examples, row: int) -> np.ndarray[Any, Any]:
    return np.asarray(examples.items.fetch(row))


def test_classes_rows_groups_and_splits() -> None:
    extra = {"size": Column("float", np.arange(6.0)[:, None]), "other": Column("class", np.arange(6) % 2, ("x", "y"))}
    split = np.array([0, 0, 1, 1, 2, -1])
    classes = class_splits(NAMES, {"a": TRAIN, "b": TEST})
    whole = pictures(class_split=classes, row_split=split, caption=list("uvwxyz")).with_columns(extra)
    made = rotated(whole)
    assert made.class_names == tuple(f"{n}{t}" for t in ("", "@90", "@180", "@270") for n in NAMES)
    assert len(made) == 24 == len(made.row_names) == len(set(made.row_names))
    assert made.labels.tolist() == [c + 3 * t if c >= 0 else -1 for t in range(4) for c in whole.labels.tolist()]
    assert made.class_split.tolist() == whole.class_split.tolist() * 4 and made.row_split.tolist() == split.tolist() * 4
    assert made.group.tolist() == whole.group.tolist() * 4 and made.group_names == ("g", "h")
    assert made.caption == list("uvwxyz") * 4
    assert made.columns["size"].values.tolist() == extra["size"].values.tolist() * 4
    assert made.with_target("other").labels.tolist() == (np.arange(6) % 2).tolist() * 4
    assert made.row_names[7] == f"{whole.row_names[1]}@90" and made.row_names[1] == whole.row_names[1]


def test_pixels_are_turned_exactly_and_counter_clockwise() -> None:
    whole, made = pictures(), rotated(pictures())
    for row in range(24):
        assert np.array_equal(seen(made, row), np.rot90(seen(whole, row % 6), row // 6)), row
    some = rotated(whole, (270, 90))
    assert some.class_names == ("a@270", "b@270", "c@270", "a@90", "b@90", "c@90")
    assert np.array_equal(seen(some, 7), np.rot90(seen(whole, 1)))


def test_take_digests_and_row_spaces() -> None:
    whole, made = pictures(), rotated(pictures())
    assert len(set(made.row_digests)) == 24 and made.row_digests[:6] == whole.row_digests
    assert made.digest() != whole.digest() and made.digest() == rotated(pictures()).digest()
    assert rotated(whole).row_digests == made.row_digests  # those of `whole` are known by now
    taken = made.take([13, 2, 23]).take([2, 0])
    assert taken.row_digests == [made.row_digests[23], made.row_digests[13]]
    assert rotated(pictures()).take([13]).digest() == made.take([13]).digest()
    assert np.array_equal(seen(taken, 1), seen(made, 13)) and turn_of(taken.items, 1) == 180 and turn_of(whole.items, 1) == 0
    again = rotated(whole.take([4, 0]), (90,))
    assert np.array_equal(seen(again, 0), np.rot90(seen(whole, 4))) and again.row_digests == [made.row_digests[10], made.row_digests[6]]
    space = RowSpace([made, whole])
    assert len(space) == 30 and space.labels[24] == 12 and space.row_name(23).endswith("@270")


def test_features_are_those_of_the_turned_image(tmp_path: Path) -> None:
    backbone = load_backbone("pixels,size=8", machine=Machine(device="cpu"))
    whole = pictures()
    square = replace(whole, items=Pixels(np.stack([np.asarray(whole.items.fetch(i).resize((8, 8))) for i in range(len(whole))])))  # type: ignore[union-attr]
    _, features, bad = readable_features(rotated(square), backbone, cache=tmp_path, quiet=True)
    _, plain, _ = readable_features(square, backbone, cache=tmp_path, quiet=True)
    turned = np.stack([np.rot90(f.reshape(-1, 8, 8), row // 6, (1, 2)) for row, f in enumerate(np.tile(plain.numpy(), (4, 1)))])
    assert not bad and np.allclose(features.numpy(), turned.reshape(24, -1), atol=1e-6)


def test_files_are_read_when_asked_for(tmp_path: Path) -> None:
    for i, image in enumerate(images(6)):
        (tmp_path / NAMES[i % 3]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / NAMES[i % 3] / f"{i}.png")
    whole = read_folder(tmp_path)
    made = rotated(whole)
    assert len(made) == 24 and len(made.class_names) == 12
    found = inspect_examples(made)
    assert not found.clashes and not found.duplicates and not found.unreadable  # a turned image is no copy
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    again = rotated(read_folder(tmp_path))
    assert len(inspect_examples(again).unreadable) == 4
    backbone = load_backbone("pixels,size=8", machine=Machine(device="cpu"))
    with pytest.raises(InputError, match=r"4 of 24 rows .*0\.png@90"):
        readable_features(again, backbone, memory=True, quiet=True)
    _, features, bad = readable_features(again, backbone, memory=True, skip_bad=True, quiet=True)
    assert sorted(bad) == [0, 6, 12, 18] and np.isfinite(features[1].numpy()).all()


def test_what_cannot_be_turned_is_refused() -> None:
    whole = pictures()
    with pytest.raises(InputError, match="holds texts: expected images"):
        rotated(make_examples(Texts(["a", "b"]), ["x", "y"]))
    with pytest.raises(InputError, match="holds vectors"):
        rotated(vector_space().sources[0])
    for turns in ((0, 45), (90, 90), (), (0, 360), (-90,)):
        with pytest.raises(InputError, match="expected distinct turns"):
            rotated(whole, turns)
    with pytest.raises(InputError, match="float targets"):
        rotated(make_examples(Pixels(images(2)), Column("float", np.zeros((2, 1)))))
    named = replace(whole, columns={"label": replace(whole.column, names=("a", "a@90", "c"))})
    with pytest.raises(InputError, match="already has a class called 'a@90'"):
        rotated(named)


def test_the_turns_of_a_class_stay_in_its_split() -> None:
    whole = split_classes(pictures(), {"train": ["a", "b"], "test": ["c"]})
    made = rotated(whole)
    sides = dict(zip(made.class_names, made.class_split.tolist(), strict=True))
    assert all(sides[f"c@{t}"] == TEST and sides[f"a@{t}"] == TRAIN for t in (90, 180, 270))


def test_a_turned_image_is_an_upright_picture_of_its_own() -> None:
    image = rotated(pictures()).items.fetch(6)
    assert isinstance(image, Image.Image) and image.mode == "RGB" and image.size == (40, 56)


def test_the_turns_of_a_class_validate_together() -> None:
    turned = rotated(make_examples(Pixels(np.zeros((20, 4, 4), np.uint8)), [f"c{i}" for i in range(20)]))
    made = held_out(turned)
    sides = {}
    for name, side in zip(made.class_names, made.class_split.tolist(), strict=True):
        sides.setdefault(name.split("@")[0], set()).add(side)
    assert all(len(of) == 1 for of in sides.values())
    assert np.bincount(made.class_split).tolist() == [64, 16]
    alone = rotated(make_examples(Pixels(np.zeros((2, 4, 4), np.uint8)), ["c0", "c0"]))
    assert held_out(alone) is alone  # four turns of one class: there is nothing left to train on


def test_a_name_with_an_at_sign_is_no_turn_unless_its_class_is_there() -> None:
    assert unturned("me@90", {"me@90", "you"}) == "me@90"
    assert unturned("me@91", {"me@91", "me"}) == "me@91"
    assert unturned("me@90", {"me@90", "me"}) == "me"
