"""What becomes of answers: tables in files, checked before torch is loaded."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]
PIXELS = ("--backbone", "pixels,size=12", "--method", "ridge")


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1, ran
    assert all(word in ran.err for word in words), ran.err


def test_a_table_comes_back_with_answers_beside_it(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("shop,path,price\n7,photos/circle/00.jpg,-1\n8,gone.jpg,+2\n9,photos/square/01.png,=3\n")
    ran = fewtune("predict", model, tmp_path / "list.csv", "--out", tmp_path / "answers.csv", "--quiet")
    assert ran.code == 0 and "1 item was skipped and has no label" in ran.err and "Wrote 3 rows to" in ran.err, ran.err
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["shop", "path", "price", "label", "probability", "problem"]
    assert [(r["shop"], r["price"]) for r in rows] == [("7", "-1"), ("8", "+2"), ("9", "=3")]
    assert rows[0]["label"] in SHAPES and rows[1]["label"] == "" and rows[1]["problem"] == "No such file or directory"
    [first, lost, _] = json.loads(fewtune("predict", model, tmp_path / "list.csv", "--format", "json").out)
    assert first["label"] == rows[0]["label"] and first["row"]["shop"] == "7" and lost["input"].endswith("list.csv:3")
    assert abs(first["probability"] - float(rows[0]["probability"])) < 1e-6
    refused(fewtune("predict", model, photos, "--out", tmp_path / "answers.csv"), "exists already", "--overwrite")
    ran = fewtune("predict", model, photos / "circle", "--out", tmp_path / "answers.csv", "--overwrite", "--scores")
    assert ran.code == 0, ran.err
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["input", "label", "probability", *SHAPES] and len(rows) == 8
    assert rows[0]["input"] == str(photos / "circle" / "00.jpg")


@pytest.mark.usefixtures("photos")
def test_a_csv_file_comes_back_as_it_was_written(fewtune: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes('\ufeffshop;path;price\n7;photos/circle/00.jpg;1,5\n8;photos/square/01.png;"a;b"\n'.encode())
    ran = fewtune("predict", model, tmp_path / "list.csv", "--out", tmp_path / "answers.csv", "--quiet")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("2 answers: ") and "00.jpg" not in ran.out and ran.out.count("\n") == 1  # the answers are in the file
    lines = (tmp_path / "answers.csv").read_bytes().decode().split("\n")
    assert lines[0] == "\ufeffshop;path;price;label;probability"
    assert lines[1].startswith("7;photos/circle/00.jpg;1,5;") and lines[2].startswith('8;photos/square/01.png;"a;b";')
    (tmp_path / "others.csv").write_text("shop,path\n9,photos/circle/01.png\n")
    ran = fewtune("predict", model, tmp_path / "list.csv", tmp_path / "others.csv", "--out", tmp_path / "both.csv", "--quiet")
    assert ran.code == 0 and (tmp_path / "both.csv").read_text().startswith("shop,path,price,input,"), ran.err


def test_a_strip_is_skipped_with_its_reason(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1_000_000, 1)).save(tmp_path / "strip.png")
    network = "timm:mobilenetv3_small_050,pretrained=false,size=32"
    ran = fewtune("adapt", photos, "--backbone", network, "--method", "ridge", "--finetune", "never", "--out", tmp_path / "run", "--quiet")
    assert ran.code == 0, ran.err
    ran = fewtune("predict", tmp_path / "run", tmp_path / "strip.png", photos / "circle" / "00.jpg", "--quiet")
    assert ran.code == 0 and "(cannot be read)" in ran.out and "too long and narrow" in ran.err, ran


@pytest.mark.usefixtures("model", "photos")
def test_mistakes_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("shop,path\n7,photos/circle/00.jpg\n")
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    wrong = [
        ["list.csv", "--input", "pth"],
        ["list.csv", "--out", "answers.doc"],
        ["list.csv", "--out", "list.csv", "--overwrite"],
        ["gone.jpg"],
        ["bad.jpg"],
        ["bad.jpg", "photos", "--strict"],
        ["photos", "--threshold", "2"],
        ["photos", "--scores"],
    ]
    script = (
        "import json, sys\nfrom fewtune.cli import main\n"
        f"for given in json.loads({json.dumps(json.dumps(wrong))}):\n"
        " sys.argv = ['fewtune', 'predict', 'run', *given]\n"
        " try:\n  main()\n except SystemExit as ended:\n  print(ended.code, 'torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=tmp_path, env=os.environ, timeout=120, text=True)
    assert ran.stdout.splitlines() == ["2 False"] * len(wrong), ran.stderr
    assert ran.stderr.count("\n") == len(wrong)


def test_photos_with_odd_names(fewtune: Run, model: Path, tmp_path: Path) -> None:
    """A name is one cell, whatever is in it."""
    odd = tmp_path / "new" / '=a,"b"\n\x1b[2J.png'
    odd.parent.mkdir()
    draw("circle", 1).save(odd)
    assert fewtune("predict", model, odd.parent, "--out", tmp_path / "out.jsonl").code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["input"] == str(odd)
    ran = fewtune("predict", model, odd.parent, "--out", tmp_path / "out.csv")
    assert ran.code == 0 and "\x1b" not in ran.out + ran.err


def test_photos_are_sorted_and_annotated(fewtune: Run, model: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for k, shape in enumerate(SHAPES):
        draw(shape, 900 + k).save(new / f"{shape}.png")
    (new / "bad.png").write_bytes(b"no photo")
    ran = fewtune("predict", model, new, "--sort-into", tmp_path / "sorted", "--annotate", tmp_path / "drawn", "--format", "json")
    assert ran.code == 0 and "3 photos are now in" in ran.err and "bad.png" in ran.err, ran.err
    for answer in json.loads(ran.out):
        if answer["label"] is not None:
            name = Path(answer["input"]).name
            assert (tmp_path / "sorted" / answer["label"] / name).read_bytes() == (new / name).read_bytes()
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    ran = fewtune("predict", model, new, "--sort-into", tmp_path / "sure", "--threshold", "1")
    assert [p.name for p in (tmp_path / "sure").iterdir()] == ["no label"]
    refused(fewtune("predict", model, new, "--sort-into", new / "sorted"), "is in a folder that is read", "--sort-into")
    refused(fewtune("predict", model, new, "--links"), "--links needs --sort-into")
