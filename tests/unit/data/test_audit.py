"""What an audit finds in collections whose faults are known."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fewtune.data.audit import Spread, inspect_examples
from fewtune.data.examples import make_examples
from fewtune.data.items import Encoded, Files, Pixels, Texts, Vectors
from fewtune.data.reading.read import read_examples
from fewtune.data.unreadable import unreadable


def noise(path: Path, seed: int, size: tuple[int, int] = (10, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)


def bad_folder(root: Path) -> Path:
    for i in range(12):
        noise(root / "train" / "cat" / f"{i}.png", i)
    noise(root / "train" / "dog" / "0.jpg", 50, size=(40, 30))
    for target, source in (
        ("train/cat/copy.png", "train/cat/1.png"),
        ("train/dog/1.png", "train/cat/2.png"),
        ("test/cat/0.png", "train/cat/3.png"),
    ):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / target).write_bytes((root / source).read_bytes())
    noise(root / "test" / "elk" / "0.png", 60, mode="L")
    whole = (root / "train/cat/5.png").read_bytes()
    (root / "train/cat/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train/dog/junk.jpg").write_bytes(b"<html>")
    (root / "train/dog/notes.pdf").write_bytes(b"%PDF")
    return root


def test_a_folder_with_every_fault(tmp_path: Path) -> None:
    audit = inspect_examples(read_examples(bad_folder(tmp_path / "pets")))
    assert audit.counts == {"cat": 15, "dog": 3, "elk": 1} and audit.imbalance == 15.0 and audit.splits == {"train": 17, "test": 2}
    assert set(audit.unreadable) == {"train/cat/cut.png", "train/dog/junk.jpg"}
    assert audit.unreadable["train/dog/junk.jpg"].startswith("its first bytes belong to no known format")
    assert audit.duplicates == (("test/cat/0.png", "train/cat/3.png"), ("train/cat/1.png", "train/cat/copy.png"))
    assert audit.clashes == ((("train/cat/2.png", "cat"), ("train/dog/1.png", "dog")),)
    assert audit.leaks == (("test/cat/0.png", "train/cat/3.png"),)
    assert audit.formats == {"PNG": 16, "JPEG": 1} and audit.modes == {"RGB": 16, "L": 1}
    assert audit.width == Spread(10, 10, 40) and audit.height == Spread(8, 8, 30)
    said = audit.sentences()
    assert [sentence.split(",")[0].split(":")[0] for sentence in said] == [
        "2 rows cannot be read",
        "The same content is in different classes once",
        "The same content is in different splits once",
        "2 rows exactly like another one of the same class",
        "1 class with a single row",
        "The largest class is 15 times the size of the smallest",
        "1 file skipped",
    ]
    json.dumps(dataclasses.asdict(audit))  # plain values throughout


def test_a_quick_look_sees_headers_only(tmp_path: Path) -> None:
    examples = read_examples(bad_folder(tmp_path / "pets"))
    quick = inspect_examples(examples, deep=False)
    assert set(quick.unreadable) == {"train/dog/junk.jpg"} and quick.clashes == () and not quick.deep
    names = examples.row_names
    assert {names[row] for row in unreadable(examples)} == {"train/dog/junk.jpg"}
    assert {names[row] for row in unreadable(examples, deep=True)} == {"train/dog/junk.jpg", "train/cat/cut.png"}
    picked = examples.take([names.index("train/cat/cut.png"), names.index("train/cat/1.png")])
    assert list(unreadable(picked, deep=True)) == [0] and len(inspect_examples(picked).unreadable) == 1
    (tmp_path / "pets/train/cat/1.png").unlink()
    assert unreadable(picked) == {1: "No such file or directory"} and unreadable(picked, deep=True)[1] == "No such file or directory"


def test_texts_vectors_and_pixels() -> None:
    made = make_examples(Texts(["abc", " ", "abc", "de"]), ["x", "x", "y", None], name="t")
    audit = inspect_examples(made)
    assert audit.length == Spread(1, 2.5, 3) and audit.unreadable == {"t:1": "the text is empty"} and audit.unlabelled == 1
    assert audit.clashes == ((("t:0", "x"), ("t:2", "y")),) and audit.width is None
    vectors = np.eye(3, dtype=np.float32)
    vectors[1, 0] = np.nan
    audit = inspect_examples(make_examples(Vectors(vectors), [0, 1, 1], name="v", class_names=["a", "b", "c"]))
    assert audit.unreadable == {"v:1": "it holds NaN or infinite values"} and audit.dimension == 3
    assert "1 class without a row: c." in audit.sentences()
    audit = inspect_examples(make_examples(Pixels(np.zeros((3, 4, 5), np.uint8)), [0, 1, 1]))
    assert audit.width == Spread(5, 5, 5) and audit.height == Spread(4, 4, 4) and audit.formats == {"array": 3}
    assert len(audit.clashes) == 1 and len(audit.duplicates) == 1


def test_all_well_says_nothing() -> None:
    assert inspect_examples(make_examples(Texts(list("abcd")), [0, 0, 1, 1])).sentences() == []


def test_the_same_image_under_two_captions_is_no_clash(tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 0)
    content = np.frombuffer((tmp_path / "a.png").read_bytes() * 2, np.uint8)
    items = Encoded(content, np.array([0, len(content) // 2, len(content)]), ["p", "q"])
    assert len(inspect_examples(make_examples(items, ["u", "v"])).clashes) == 1
    assert inspect_examples(replace(make_examples(items, ["u", "v"]), caption=["one", "two"])).clashes == ()


def test_other_targets(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,1\nb,\nc,3\n")
    audit = inspect_examples(read_examples(path, kind="float"))
    assert audit.kind == "float" and audit.unlabelled == 1 and audit.counts == {} and audit.imbalance == 1.0
    path.write_text("text,label\na,u|v\nb,\nc,v\n")
    assert inspect_examples(read_examples(path, kind="multi")).unlabelled == 1


def test_files_and_encoded_agree(tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 0)
    content = (tmp_path / "a.png").read_bytes()
    encoded = Encoded(np.frombuffer(content, np.uint8), np.array([0, len(content)]), ["a"])
    assert encoded.digest(0) == Files([tmp_path / "a.png"]).digest(0)


def test_wrapped_rows_are_looked_at_where_they_really_are(tmp_path: Path) -> None:
    from fewtune.data.reading.inputs import read_inputs

    noise(tmp_path / "a.png", 0)
    (tmp_path / "b.png").write_bytes(b"junk")
    made = read_inputs([tmp_path / "b.png", tmp_path / "a.png"], [], "image").take([1, 0])
    assert list(unreadable(made)) == [1] and list(unreadable(made.take([1]), deep=True)) == [0]
    assert made.row_digests[0] == Files([tmp_path / "a.png"]).digest(0)
