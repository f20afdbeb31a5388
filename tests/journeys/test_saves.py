"""What a person has in her folders is there afterwards: photos beside a model, edited cards, runs of others, unfinished comparisons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from fewtune.models.bundle import load_bundle
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
ADAPT = ("--method", "centroid", "--quiet")
COMPARE = (
    "--backbone",
    "mlp,inputs=6",
    "--ways",
    "3",
    "--shots",
    "1",
    "--queries",
    "2",
    "--episodes",
    "3",
    "--class-split",
    "0",
    "--quiet",
)
LEARN = ("--method", "multitask(ways=3, steps=2)", "--validation-episodes", "3", "--adapted-episodes", "3")


def vectors(path: Path, classes: int = 3, rows: int = 6, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), rows)
    np.savez(
        path, x=(random.normal(size=(len(y), 6)) + 3 * np.eye(classes, 6)[y]).astype(np.float32), y=y, names=list(map(str, range(classes)))
    )
    return path


def refused(ran: Ran, *said: str) -> None:
    assert ran.code == 2 and ran.err.count("\n") == 1 and all(word in ran.err for word in said), ran.err


def test_photos_inside_the_run_folder_outlive_overwrite(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    run, pixels = tmp_path / "run", ("--backbone", "pixels,size=8")
    assert fewtune("adapt", photos, *pixels, *ADAPT, "--out", run).code == 0
    inside = photos.rename(run / "photos")
    files = {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()}
    assert fewtune("adapt", inside, *pixels, *ADAPT, "--threshold", "0.5", "--out", run, "--overwrite").code == 0
    assert {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()} == files
    (run / "README.md").write_text("my own words")
    refused(fewtune("adapt", inside, *pixels, *ADAPT, "--out", run, "--overwrite"), "README.md was edited")
    refused(fewtune("add-class", run, "round", inside / "circle"), "README.md was edited")
    assert fewtune("predict", run, inside / "circle").code == 0 and (run / "README.md").read_text() == "my own words"


def test_a_folder_that_only_looks_like_a_run_is_kept(fewtune: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "fewtune.json").write_text("{}")
    (mine / "notes.txt").write_text("a year of work")
    refused(fewtune("adapt", vectors(tmp_path / "v.npz"), *ADAPT, "--out", mine, "--overwrite"), "was not written by fewtune")
    assert (mine / "notes.txt").read_text() == "a year of work"


@pytest.mark.slow
def test_of_several_writers_each_says_where_its_model_is(tmp_path: Path) -> None:
    data, given = vectors(tmp_path / "v.npz"), {**os.environ, "FEWTUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "fewtune", "adapt", str(data), *ADAPT, "--out", str(tmp_path / "run"), "--seed"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*words, str(i)], env=given, **pipes) for i in range(3)]  # type: ignore[call-overload]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    run, second, third = (tmp_path / name for name in ("run", "run-2", "run-3"))
    assert sum(f"Saved to {run};" in out for out, _ in said) == 1
    assert sum("Saved to" in out for out, _ in said) == 1
    for beside in (second, third):
        assert sum(f"used {run} in the meantime, so this model is in {beside};" in out for out, _ in said) == 1
    assert len({load_bundle(folder).facts["seed"] for folder in (run, second, third)}) == 3


def aside(run: Path) -> None:
    """What a process that is killed between two renames leaves."""
    run.rename(run.with_name(f".{run.name}.0123abcd.old"))


@pytest.mark.parametrize("verb", ["predict", "add-class", "adapt"])
def test_every_command_puts_back_a_model_that_was_moved_aside(fewtune: Run, tmp_path: Path, verb: str) -> None:
    run, data = tmp_path / "run", vectors(tmp_path / "v.npz")
    assert fewtune("adapt", data, *ADAPT, "--out", run).code == 0
    (run / "notes.txt").write_text("mine")
    aside(run)
    more = {"predict": (run, data), "add-class": (run, "new", data, "--quiet"), "adapt": (data, *ADAPT, "--out", run, "--overwrite")}[verb]
    ran = fewtune(verb, *more)
    assert ran.code == 0, ran.err
    assert (run / "notes.txt").read_text() == "mine" and (run / "fewtune.json").is_file() and not list(tmp_path.glob(".run.*"))


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_beginning_wedges_nothing(fewtune: Run, tmp_path: Path) -> None:
    data, out = vectors(tmp_path / "v.npz", 24), tmp_path / "out"
    asked = ("compare", data, "--source", data, *COMPARE, *LEARN, "--out", out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "out.partial")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fewtune.evaluation.partial.write_bytes", full)
        refused(fewtune(*asked), "disk is full")
    assert not list(tmp_path.glob("*out*"))
    (tmp_path / "out.partial").mkdir()  # an empty folder is nobody's
    assert fewtune(*asked).code == 0 and not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_an_unfinished_run_is_discarded_but_for_what_is_not_fewtunes(fewtune: Run, tmp_path: Path) -> None:
    data, out, partial = vectors(tmp_path / "v.npz", 24), tmp_path / "out", tmp_path / "out.partial"
    asked = ("compare", data, "--source", data, *COMPARE, *LEARN, "--out", out)

    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(import_module("fewtune.evaluation.run_study"), "score_each", stopped)
        assert fewtune(*asked).code == 75
    assert list(partial.rglob("*.safetensors"))
    (partial / "notes.txt").write_text("mine")
    refused(fewtune(*asked, "--overwrite"), "notes.txt was not written by fewtune")
    assert list(partial.rglob("*.safetensors"))
    assert fewtune(*asked, "--resume").code == 0
    assert [p.name for p in partial.rglob("*")] == ["notes.txt"]
    refused(fewtune(*asked, "--seeds", "4"), "exists already")


@pytest.mark.slow
def test_a_changed_study_is_not_taken_for_the_one_that_was_run(fewtune: Run, tmp_path: Path) -> None:
    data, out = vectors(tmp_path / "v.npz", 24), tmp_path / "out"
    asked = ("compare", data, *COMPARE, "--method", "centroid", "--out", out)
    assert fewtune(*asked).code == 0 and fewtune(*asked).code == 0
    for name in ("fewtune.json", "result.parquet"):
        content = (out / name).read_bytes()
        (out / name).write_bytes(content.replace(b"notes", b"Notes") if name == "fewtune.json" else content[:-1] + b"x")
        refused(fewtune(*asked), "a digest differs")
        (out / name).write_bytes(content)
