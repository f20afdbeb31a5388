"""`fewtune predict --watch`: a folder that fills, as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, "--backbone", "pixels,size=12", "--method", "ridge", "--threshold", "0", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_files_are_answered_as_they_arrive_until_a_stop(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "fills", tmp_path / "out.jsonl"
    folder.mkdir()
    draw("circle", 1).save(folder / "1.png")
    out.write_text('{"input": "of before"}\n')
    command = [sys.executable, "-m", "fewtune", "predict", str(model), "--watch", str(folder), "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # a shell's background job ignores it
    )  # fmt: skip
    try:
        until(lambda: len(out.read_text().splitlines()) == 2)
        (folder / "bad\x1b.png").write_bytes(b"no photo")
        half = (folder / "1.png").read_bytes()
        (folder / "half.png").write_bytes(half[:200])
        draw("square", 2).save(folder / "2.png")
        until(lambda: len(out.read_text().splitlines()) == 5)
    finally:
        process.send_signal(signal.SIGINT)
        said, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Stopped: " in err and "\x1b" not in said + err, err
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert records[0] == {"input": "of before"}
    by_name = {Path(r["input"]).name: r for r in records[1:]}
    assert len(by_name) == len(records) - 1
    assert by_name["1.png"]["label"] in SHAPES and by_name["2.png"]["label"] in SHAPES
    assert by_name["bad\x1b.png"]["label"] is None and "no known format" in by_name["bad\x1b.png"]["problem"]


def test_what_cannot_be_watched_is_refused(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n")
    for args, words in (
        (("--watch", tmp_path / "gone"), "is not a folder"),
        (("--watch", photos, "--out", tmp_path / "x.parquet"), ".csv and .jsonl"),
        (("--watch", photos, "--out", tmp_path / "other.csv"), "has other columns than input, label, probability, problem"),
        (("--watch", photos, "--strict", "--explain", "2"), "leave out --strict, --explain"),
        (("--watch", photos, "--sort-into", tmp_path / "s"), "leave out --sort-into"),
        ((photos, "--watch", photos), "leave out inputs"),
    ):
        ran = fewtune("predict", model, *args)
        assert ran.code == 2 and words in ran.err and ran.out == "", ran
