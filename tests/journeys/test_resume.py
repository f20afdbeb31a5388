"""A comparison that trains, stopped in the middle: exit code 75, one sentence, and --resume goes on to the very same run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
METHODS = ("--method", "multitask(ways=3, steps=300, lr=0.01)", "--method", "maml(ways=3, steps=10, test_steps=3)", "--method", "centroid")
FLAGS = (
    "--backbone",
    "mlp,inputs=16",
    "--ways",
    "3",
    "--shots",
    "1",
    "--queries",
    "3",
    "--episodes",
    "20",
    "--class-split",
    "0",
    "--quiet",
)
LEARNING = ("--adapted-episodes", "5", "--validation-episodes", "5", "--watch", "100")


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 classes of 15 vectors."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(24), 15)
    x = (random.normal(size=(24, 16))[y] + 0.8 * random.normal(size=(len(y), 16))).astype(np.float32)
    path = tmp_path_factory.mktemp("vectors") / "vectors.npz"
    np.savez(path, x=x, y=y, names=np.array([f"class {i}" for i in range(24)]))
    return path


def asked(vectors: Path, out: Path, *more: str) -> list[str]:
    methods = more if "--method" in more else (*METHODS, "--training-seeds", "0", "1", *more)
    return ["compare", str(vectors), "--source", str(vectors), *FLAGS, *LEARNING, "--out", str(out), *methods]


def start(words: list[str], cache: Path, **environment: str) -> subprocess.Popen[str]:
    """The real command in a process of its own."""
    given = {**os.environ, "FEWTUNE_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, "-m", "fewtune", *words], env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def same_run(a: Path, b: Path) -> None:
    """Two finished runs with the same curves, weights and results; the seconds they took apart."""
    for part in ("curves", "weights"):
        names = sorted(p.name for p in (a / part).iterdir())
        assert names == sorted(p.name for p in (b / part).iterdir()) and len(names) == 4
    for path in (a / "curves").iterdir():
        assert path.read_bytes() == (b / "curves" / path.name).read_bytes(), path.name
    for path in (a / "weights").iterdir():
        first, second = load_file(path), load_file(b / "weights" / path.name)
        assert set(first) == set(second) and all(bool((first[n] == second[n]).all()) for n in first), path.name
    tables = [pq.read_table(run / "result.parquet").drop(["seconds"]).to_pydict() for run in (a, b)]
    assert tables[0] == tables[1]
    costs = [[{k: v for k, v in c.items() if k not in ("seconds", "memory")} for c in _record(run)["costs"]] for run in (a, b)]
    assert costs[0] == costs[1]


def _record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "fewtune.json").read_bytes())
    return found


@pytest.mark.slow
def test_a_comparison_stopped_at_any_moment_goes_on_to_the_same_run(fewtune: Run, vectors: Path, tmp_path: Path) -> None:
    out, whole, cache = tmp_path / "R", tmp_path / "whole", tmp_path / "cache"
    process = start(asked(vectors, out), cache)
    partial = tmp_path / "R.partial"
    end = time.monotonic() + 60
    while not (partial / "fewtune.json").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    moment = float(np.random.default_rng().uniform(0, 1.5))
    time.sleep(moment)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, (moment, said)
    assert said.startswith("fewtune: stopped") and said.endswith("run the same command again with --resume to go on from there.\n"), said
    assert said.count("\n") == 1 and not out.exists() and partial.is_dir()
    refused = fewtune(*asked(vectors, out))
    assert refused.code == 2 and f"an unfinished run is kept in {partial}: pass --resume" in refused.err
    other = fewtune(*asked(vectors, out, "--method", "multitask(ways=3, steps=3)", "--resume"))
    assert other.code == 2 and "holds another unfinished run" in other.err
    for words in (asked(vectors, out, "--resume"), asked(vectors, whole)):
        process = start(words, cache)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    assert not partial.exists()
    same_run(out, whole)


@pytest.mark.slow
def test_two_processes_keep_the_run_of_one(fewtune: Run, vectors: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    method = ("--method", "multitask(ways=3, steps=30, batch=3, lr=0.01)")
    words = asked(vectors, tmp_path / "two", *method)
    processes = [start(words, tmp_path / f"cache{rank}", RANK=str(rank), **world) for rank in range(2)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert "multitask" in ended[0][0] and ended[1][0] == ""  # one of them speaks
    assert fewtune(*asked(vectors, tmp_path / "one", *method)).code == 0
    curves = [
        [json.loads(line) for f in sorted((tmp_path / run / "curves").iterdir()) for line in f.read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert len(curves[0]) == len(curves[1]) == 30
    for a, b in zip(*curves, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4, abs=1e-5) and a["visits"] == b["visits"]  # float32, sums in another order


def test_a_loss_that_is_no_number_is_said_in_one_sentence(fewtune: Run, vectors: Path, tmp_path: Path) -> None:
    ran = fewtune(*asked(vectors, tmp_path / "R", "--method", "multitask(ways=3, steps=50, lr=1e30)"))
    assert ran.code == 2
    assert ran.err.startswith("fewtune: the loss of step ") and "lower the learning rate" in ran.err and ran.err.count("\n") == 1, ran.err


def test_a_damaged_checkpoint_is_named(fewtune: Run, vectors: Path, tmp_path: Path) -> None:
    words = asked(vectors, tmp_path / "R", "--method", "protonet(ways=3, steps=3)")
    run_study = import_module("fewtune.evaluation.run_study")  # the room exports its function under the same name

    with pytest.MonkeyPatch.context() as patched:  # testing is where somebody asks it to stop
        patched.setattr(run_study, "score_each", _stop)
        ran = fewtune(*words)
    assert ran.code == 75 and ran.err == "fewtune: stopped; run the same command again with --resume to go on from there.\n"
    (path,) = (tmp_path / "R.partial").rglob("phase-0-end.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    ran = fewtune(*words, "--resume")
    assert ran.code == 2 and ran.err == f"fewtune: checkpoint {path} is damaged: remove it to do this part of the run again.\n"
    path.unlink()
    assert fewtune(*words, "--resume").code == 0


def _stop(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
