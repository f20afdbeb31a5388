"""Folders of class folders, in every layout that is taken and every one that is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.order import natural
from fewtune.data.reading.read import read_asked, read_examples
from fewtune.errors import InputError


def image(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (colour, 0, 0)).save(path)
    return path


def text(path: Path, content: str = "some words") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def test_class_folders(tmp_path: Path) -> None:
    root = tmp_path / "birds.v2"
    for i, name in enumerate(["10.JPG", "9.jpg", "deep/er/1.PNG"]):
        image(root / "owl" / name, colour=i * 60)
    image(root / "10 crows" / "a.webp")
    image(root / "9 crows" / "b.tiff")
    text(root / "README.md")
    text(root / "classes.txt")
    text(root / "owl" / "notes.doc")
    text(root / ".hidden" / "x.jpg")
    text(root / "owl" / "Thumbs.db")
    text(root / "__MACOSX" / "owl" / "1.jpg")
    made = read_examples(root)
    assert made.name == "birds.v2" and made.modality == "image"
    assert made.class_names == ("9 crows", "10 crows", "owl")
    assert made.row_names == ["9 crows/b.tiff", "10 crows/a.webp", "owl/9.jpg", "owl/10.JPG", "owl/deep/er/1.PNG"]
    assert made.labels.tolist() == [0, 1, 2, 2, 2] and (made.row_split == NO_SPLIT).all()
    assert np.asarray(made.items.fetch(4))[0, 0, 0] == 120  # PNG: exact
    assert {s.name: s.reason.split(",")[0].split(":")[0] for s in made.skipped} == {
        "classes.txt": "a text beside class folders of images",
        "README.md": "not an image or a text (suffix '.md')",
        "owl/notes.doc": "not an image or a text (suffix '.doc')",
    }
    shallow = read_asked(root, Asked(recursive=False, name="flat"))
    assert shallow.name == "flat" and len(shallow) == 4 and "owl/deep/er/1.PNG" in [s.name for s in shallow.skipped]


@pytest.mark.parametrize("middle", ["val", "valid", "Validation", "dev"])
def test_split_folders(tmp_path: Path, middle: str) -> None:
    for split in ("train", middle, "TEST"):
        for name in ("a", "b"):
            image(tmp_path / split / name / "1.png")
    text(tmp_path / "meta" / "list.txt")
    image(tmp_path / "TEST" / "loose.png")
    made = read_examples(tmp_path)
    assert made.class_names == ("a", "b")
    order = {"train": TRAIN, middle: VALIDATION, "TEST": TEST}
    assert [order[name.split("/")[0]] for name in made.row_names] == made.row_split.tolist()
    assert sorted(made.row_split.tolist()) == [0, 0, 1, 1, 2, 2]
    assert {s.name for s in made.skipped} == {"meta/list.txt", "TEST/loose.png"}


def test_only_a_train_folder_and_a_class_called_test(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / "one" / "train" / name / "1.png")
        image(tmp_path / "two" / "train" / "1.png")
        image(tmp_path / "two" / "test" / "1.png")
    assert read_examples(tmp_path / "one").row_split.tolist() == [TRAIN, TRAIN]
    assert read_examples(tmp_path / "two").class_names == ("test", "train")  # no folders inside: these are the classes


def test_folders_of_texts(tmp_path: Path) -> None:
    text(tmp_path / "good" / "1.txt", "﻿fine\n")
    text(tmp_path / "bad" / "1.TXT", "awful")
    made = read_examples(tmp_path)
    assert made.modality == "text" and [made.items.fetch(i) for i in range(2)] == ["awful", "fine"]
    (tmp_path / "bad" / "2.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"2.txt is not UTF-8 text \(byte 0\)"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], r"holds no images or texts, nothing was found: expected one folder for each class"),
        (["a/x.avif"], r"only a/x.avif \(AVIF is not supported; convert it to JPEG or PNG\) was found"),
        (["1.jpg", "2.jpg"], r"holds 2 files such as 1.jpg but no class folders: expected one folder"),
        (["a/1.jpg", "b/1.jpg", "2.jpg"], r"holds files beside its class folders \(2.jpg\), so their class is unknown"),
        (["a/1.jpg", "b/1.txt"], r"holds 1 images and 1 texts \(such as b/1.txt\): expected one kind"),
        (["a/1.jpg"], r"expected at least two classes, found one, 'a'"),
        (
            ["photo/dog/1.jpg", "photo/cat/1.jpg", "sketch/dog/1.jpg", "sketch/cat/1.jpg"],
            r"inner folders repeat \(cat, dog\), so the class is",
        ),
    ],
)
def test_what_is_refused_says_what_is_expected(tmp_path: Path, files: list[str], sentence: str) -> None:
    for name in files:
        image(tmp_path / name) if name.endswith(".jpg") else text(tmp_path / name)
    with pytest.raises(InputError, match=sentence) as caught:
        read_examples(tmp_path)
    assert "\n" not in str(caught.value)


def test_domains_and_alphabets_by_label(tmp_path: Path) -> None:
    for domain in ("photo", "sketch"):
        for name in ("dog", "cat"):
            image(tmp_path / domain / name / "1.png")
    inner = read_examples(tmp_path, label="inner")
    assert inner.class_names == ("cat", "dog") and inner.group_names == ("photo", "sketch") and inner.group.tolist() == [0, 0, 1, 1]
    assert read_examples(tmp_path, label="outer").class_names == ("photo", "sketch")
    both = read_examples(tmp_path, label="both")
    assert both.class_names == ("photo cat", "photo dog", "sketch cat", "sketch dog") and both.group.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="a folder has no label column 'intent'"):
        read_examples(tmp_path, label="intent")


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    image(tmp_path / "elsewhere" / "1.png")
    image(root / "a" / "1.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    made = read_examples(root)
    assert made.row_names == ["a/1.png", "b/1.png"]
    assert {s.name: s.reason for s in made.skipped} == {
        "a/loop": "a link to a folder that was read already",
        "a/self": "a link to a folder that was read already",
        "a/broken.png": "a broken link or not a plain file",
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may be refused")
def test_a_folder_that_may_not_be_read_is_listed(tmp_path: Path) -> None:
    for name in "abc":
        image(tmp_path / name / "1.png")
    (tmp_path / "c").chmod(0)
    made = read_examples(tmp_path)
    (tmp_path / "c").chmod(0o755)
    assert made.class_names == ("a", "b") and "cannot be read" in made.skipped[0].reason


def test_a_path_that_does_not_exist_offers_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"photo does not exist: did you mean .*photos\?"):
        read_examples(tmp_path / "photo")
    for name, sentence in (
        ("x.zip", "is an archive: unpack it"),
        ("x.jpg", "is a single image: expected one folder"),
        ("x.xyz", "is not a known kind of file"),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match=sentence):
            read_examples(str(tmp_path / name))
    with pytest.raises(InputError, match="a int cannot be read as examples"):
        read_examples(3)


def test_natural_order() -> None:
    assert sorted(["b10", "b9", "B1", "a", "10", "9"], key=natural) == ["9", "10", "a", "B1", "b9", "b10"]
    assert sorted(["9" * 5000, "x", "9"], key=natural) == ["9", "9" * 5000, "x"]  # longer than Python turns into a number
    assert natural("x01") != natural("x1") and sorted(["x1", "x01"], key=natural) == sorted(["x01", "x1"], key=natural)


def test_the_same_folder_reads_the_same(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "b/1.png", "a/10.png", "a/9.png"):
        image(tmp_path / name)
    assert read_examples(tmp_path).row_names == ["a/1.png", "a/9.png", "a/10.png", "b/1.png", "b/2.png"]
    assert read_examples(tmp_path).digest() == read_examples(tmp_path).digest()
