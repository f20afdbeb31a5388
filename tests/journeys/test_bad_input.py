"""Everything a person can get wrong: one clear sentence, exit code 2, nothing half-written, nothing deleted."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]
PIXELS = ("--backbone", "pixels,size=12")


def refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2, (ran.out, ran.err)
    assert ran.err.strip().count("\n") == 0 and ran.err.startswith("fewtune: "), ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, (word, ran.err)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "run"


def only_what_was_there(out: Path) -> None:
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_data_that_is_not_there(fewtune: Run, photos: Path, out: Path) -> None:
    refused(fewtune("adapt", photos.parent / "photo", *PIXELS, "--out", out), "does not exist", "photos")
    only_what_was_there(out)


def test_a_place_to_save_in_that_cannot_be_is_found_out_before_the_work(fewtune: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(fewtune("adapt", tmp_path / "absent", *PIXELS, "--out", tmp_path / "file" / "deep" / "run"), "is a file", "another --out")
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    refused(fewtune("adapt", tmp_path / "absent", *PIXELS, "--out", tmp_path / "closed" / "run"), "is not writable")


def test_an_empty_folder(fewtune: Run, tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(fewtune("adapt", tmp_path / "empty", *PIXELS, "--out", out), "empty", "expected")
    only_what_was_there(out)


def test_one_class(fewtune: Run, photos: Path, out: Path) -> None:
    shutil.rmtree(photos / "circle")
    shutil.rmtree(photos / "square")
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "two classes", "one")


def test_photos_without_class_folders(fewtune: Run, photos: Path, out: Path) -> None:
    refused(fewtune("adapt", photos / "circle", *PIXELS, "--out", out), "expected one folder for each class")


def test_damaged_images_are_listed_and_skipped_only_on_request(fewtune: Run, photos: Path, out: Path) -> None:
    whole = (photos / "circle" / "00.jpg").read_bytes()
    (photos / "circle" / "00.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "square" / "01.png").write_bytes(b"")
    (photos / "square" / "02.jpg").write_bytes(b"this is no image at all")
    ran = fewtune("adapt", photos, *PIXELS, "--out", out)
    refused(ran, "cannot be read", "01.png", "02.jpg", "--skip-bad")
    only_what_was_there(out)
    ran = fewtune("adapt", photos, *PIXELS, "--out", out, "--skip-bad")
    assert ran.code == 0, ran.err
    assert "3 rows were left out" in ran.out
    card = (out / "fewtune.json").read_text()
    assert "00.jpg" in card and "01.png" in card and "02.jpg" in card


def bomb(side: int) -> bytes:
    """A small PNG whose header promises side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10_000)) + chunk(b"IEND", b"")


def test_a_decompression_bomb(fewtune: Run, photos: Path, out: Path) -> None:
    (photos / "circle" / "bomb.png").write_bytes(bomb(60_000))
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "bomb.png", "pixels")


@pytest.mark.slow
def test_a_forty_megapixel_photo_is_fine(fewtune: Run, photos: Path, out: Path) -> None:
    Image.effect_noise((7300, 5480), 20).convert("RGB").save(photos / "circle" / "large.jpg", quality=30)
    ran = fewtune("adapt", photos, *PIXELS, "--out", out)
    assert ran.code == 0, ran.err


def test_images_and_texts_mixed(fewtune: Run, photos: Path, out: Path) -> None:
    (photos / "circle" / "a.txt").write_text("a circle")
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "texts", "images")


def test_the_wrong_backbone_for_the_data(fewtune: Run, photos: Path, embeddings: Path, out: Path) -> None:
    refused(fewtune("adapt", photos, "--backbone", "precomputed", "--out", out), "vectors", "images")
    refused(fewtune("compare", embeddings, *PIXELS), "images", "vectors")


def test_nan_embeddings_and_nan_labels(fewtune: Run, tmp_path: Path, out: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    y = np.repeat([0, 1], 10)
    bad = x.copy()
    bad[7, 2] = np.nan
    np.savez(tmp_path / "nan.npz", x=bad, y=y)
    refused(fewtune("adapt", tmp_path / "nan.npz", "--out", out), "7", "NaN")
    labels = y.astype(np.float64)
    labels[3] = np.nan
    np.savez(tmp_path / "labels.npz", x=x, y=labels)
    ran = fewtune("adapt", tmp_path / "labels.npz", "--out", out)
    assert ran.code == 2 or "because it has no label: 1 row" in ran.out


def test_a_pickle_is_never_opened(fewtune: Run, tmp_path: Path, out: Path) -> None:
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object), y=np.array([0]))
    refused(fewtune("adapt", tmp_path / "evil.npz", "--out", out), "evil.npz")


def test_the_same_photo_under_two_classes(fewtune: Run, photos: Path, out: Path) -> None:
    shutil.copy(photos / "circle" / "01.png", photos / "square" / "copy.png")
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "different classes", "01.png", "copy.png", "--skip-bad")
    ran = fewtune("adapt", photos, *PIXELS, "--out", out, "--skip-bad")
    assert ran.code == 0 and "2 rows were left out" in ran.out


def test_more_ways_than_classes_and_more_shots_than_examples(fewtune: Run, embeddings: Path) -> None:
    refused(fewtune("compare", embeddings, "--ways", "20"), "at least 20 classes (ways), found 12")
    refused(fewtune("compare", embeddings, "--shots", "25"), "5 classes with 40 or more examples each", "30")
    refused(fewtune("compare", embeddings, "--classes", "test"), "no train, validation and test classes")
    refused(fewtune("compare", embeddings, "--within", "group"), "no groups")


def test_unknown_names_offer_the_nearest(fewtune: Run, embeddings: Path, photos: Path, out: Path) -> None:
    refused(fewtune("compare", embeddings, "--method", "centriod"), "did you mean centroid")
    refused(fewtune("compare", embeddings, "--method", "ridge(penality=1)"), "no option 'penality'", "penalty")
    refused(fewtune("compare", embeddings, "--method", "__import__('os')"), "__import__")
    refused(fewtune("compare", embeddings, "--method", "zero_shot"), "label side")
    refused(fewtune("compare", embeddings, "--method", "ridge(penalty=-1)"), "penalty")
    refused(fewtune("compare", embeddings, "--method", "multitask(steps='x')"), "multitask: steps is a whole number, found 'x'.")
    refused(fewtune("compare", embeddings, "--method", "ridge(penalty=[1])"), "ridge: penalty is a number or 'loo', found (1,).")
    refused(fewtune("adapt", photos, "--backbone", "timmy:resnet18", "--out", out), "timm")
    refused(fewtune("adapt", photos, "--backbone", "pixels,sizes=3", "--out", out), "size")
    refused(fewtune("adapt", photos, *PIXELS, "--weights", photos / "no.pt", "--out", out), "does not exist")


def test_an_out_folder_that_exists_is_never_overwritten_unasked(fewtune: Run, photos: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("years of work")
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "exists already")
    refused(fewtune("adapt", photos, *PIXELS, "--out", out, "--overwrite"), "was not written by fewtune")
    assert (out / "thesis.txt").read_text() == "years of work"


def test_a_full_disk(fewtune: Run, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(out))

    ran = fewtune("adapt", photos, *PIXELS, "--out", out)
    assert ran.code == 0
    shutil.rmtree(out.parent)
    monkeypatch.setattr("os.fsync", full)
    refused(fewtune("adapt", photos, *PIXELS, "--out", out), "disk is full")
    only_what_was_there(out)


@pytest.mark.parametrize("flag", ["--folds=1", "--threshold=2", "--chunk=0", "--device=tpu9"])
def test_flags_out_of_range(fewtune: Run, photos: Path, out: Path, flag: str) -> None:
    refused(fewtune("adapt", photos, *PIXELS, "--out", out, flag), "expected" if "chunk" not in flag else "chunk")


def test_predict_names_what_it_cannot_read(fewtune: Run, photos: Path, out: Path, tmp_path: Path) -> None:
    assert fewtune("adapt", photos, *PIXELS, "--out", out).code == 0
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    draw(SHAPES[0], 5).save(tmp_path / "good.jpg")
    refused(fewtune("predict", out, tmp_path / "bad.jpg"), "bad.jpg")
    refused(fewtune("predict", out, tmp_path / "gone.jpg"), "gone.jpg", "does not exist")
    refused(fewtune("predict", out), "expected something to label")
    both = (tmp_path / "bad.jpg", tmp_path / "good.jpg")
    ran = fewtune("predict", out, *both, "--format", "csv")
    assert ran.code == 0 and ran.err.startswith("1 item was skipped and has no label: ") and "bad.jpg (its first bytes" in ran.err
    lines = ran.out.splitlines()
    assert lines[1].startswith(f"{both[0]},,") and lines[2].split(",")[1] in SHAPES
    refused(fewtune("predict", out, *both, "--strict"), "1 of 2 rows cannot be read", "bad.jpg", "leave out --strict")
    skipped, usual = fewtune("predict", out, *both, "--skip-bad", "--format", "json"), fewtune("predict", out, *both, "--format", "json")
    assert skipped.code == usual.code == 0 and skipped.out == usual.out and "bad.jpg" in skipped.err
    refused(fewtune("predict", out, *both, "--strict", "--skip-bad"), "--strict stops at what cannot be read", "give one of them")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:-600])  # its header is whole
    refused(fewtune("predict", out, tmp_path / "cut.jpg", both[1], "--strict"), "1 of 2 rows cannot be read", "cut.jpg", "--strict")
    refused(fewtune("predict", out, tmp_path / "cut.jpg"), "1 of 1 rows cannot be read", "nothing to label")
    [cut, good] = json.loads(fewtune("predict", out, tmp_path / "cut.jpg", both[1], "--format", "json").out)
    assert cut["label"] is None and "truncated" in cut["problem"] and "problem" not in good


@pytest.mark.parametrize(
    "command", [("adapt",), ("embed",), ("tasks", "--label", "a", "--label", "b"), ("pretrain", "--out", "x"), ("mamf", "--out", "x")]
)
def test_a_precision_of_features_that_nothing_keeps(fewtune: Run, photos: Path, command: tuple[str, ...]) -> None:
    refused(fewtune(command[0], photos, *command[1:], *PIXELS, "--table", "bfloat16"), "--table bfloat16 is for compare", "leave it out")
