"""One study by several processes: what they put together is what one process gives, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fewtune.cli.engines import run_worker, worker_commands
from fewtune.errors import InputError
from tests.journeys.conftest import Ran
from tests.journeys.test_compare_many import rows

Run = Callable[..., Ran]


def asked(one: Path, two: Path, source: Path, steps: int = 3) -> list[object]:
    return [
        *("compare", one, "--target", two, "--source", source, "--backbone", "mlp,inputs=8", "--method", "centroid", "ridge"),
        *(f"multitask(ways=3,shots=1,queries=3,steps={steps})", "standard(on='support',steps=2)"),
        *("--sweep", "lr=1e-3,1e-1", "--training-seeds", "0", "1", "--validation-episodes", "4", "--adapted-episodes", "4"),
        *("--shots", "1", "2", "--episodes", "12", "--queries", "4", "--ways", "3"),
    ]


@pytest.fixture
def study(tmp_path: Path) -> list[object]:
    return asked(rows(tmp_path / "one.npz", 1), rows(tmp_path / "two.npz", 2), rows(tmp_path / "source.npz", 5, names="ghijkl"))


def same_run(a: Path, b: Path) -> None:
    """The same rows, answers, summary, notes and weights; but what was measured in seconds and bytes."""
    tables = [pq.read_table(run / "result.parquet").drop_columns(["seconds"]) for run in (a, b)]
    assert tables[0].equals(tables[1])
    for name in ("study.txt", "answers.npz"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    names = [sorted(str(p.relative_to(run)) for p in run.rglob("*")) for run in (a, b)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.startswith(("weights/", "episodes/")):
            assert (a / name).read_bytes() == (b / name).read_bytes()
    records = [json.loads((run / "fewtune.json").read_text()) for run in (a, b)]
    assert records[0]["notes"] == records[1]["notes"] and records[0]["study"] == records[1]["study"]
    timeless = [
        [
            {k: v for k, v in x.items() if k not in ("train_seconds", "peak_megabytes")}
            for x in json.loads((run / "summary.json").read_text())
        ]
        for run in (a, b)
    ]
    assert timeless[0] == timeless[1]


def test_two_shards_are_merged_to_the_serial_run(fewtune: Run, study: list[object], tmp_path: Path) -> None:
    assert fewtune(*study, "--out", tmp_path / "serial").code == 0
    shared = tmp_path / "shared"
    first = fewtune(*study, "--out", shared, "--shard", "1/2", "--cells", "5")
    assert first.code == 0 and "ran 5 cells; " in first.err and "are left" in first.err, first.err
    early = fewtune("merge", shared)
    assert early.code == 2 and "not done yet" in early.err and "multitask" in early.err, early.err
    other = fewtune(*study[:-1], "2", "--out", shared, "--shard", "2/2")
    assert other.code == 2 and "holds another unfinished run" in other.err
    second = fewtune(*study, "--out", shared, "--shard", "2/2")
    assert second.code == 0 and f"fewtune merge {shared}" in second.err, second.err
    (tmp_path / "shared.partial" / "leases" / f"{'0' * 32}~gone").touch()
    merged = fewtune("merge", shared, "--format", "json")
    assert merged.code == 0, merged.err
    same_run(shared, tmp_path / "serial")
    assert json.loads(merged.out) == json.loads((shared / "summary.json").read_text())
    assert not (tmp_path / "shared.partial").exists()  # and not the lease of a worker that died after its last cell
    assert "exists already" in fewtune(*study, "--out", shared, "--shard", "1/2").err
    page = (shared / "report.html").read_text()
    assert 'id="errors"' in page and 'id="classes"' in page and 'id="shots"' in page


def start(words: Sequence[object]) -> subprocess.Popen[str]:
    environment = {**os.environ, "FEWTUNE_QUIET": "1"}
    return subprocess.Popen([sys.executable, "-m", "fewtune", *map(str, words)], env=environment, stderr=subprocess.PIPE, text=True)


def test_a_worker_that_is_killed_is_replaced_by_the_other(fewtune: Run, tmp_path: Path) -> None:
    """Of two processes one is killed in the middle of a cell: the other takes it over, and the result is that of one process."""
    study = asked(rows(tmp_path / "one.npz", 1), rows(tmp_path / "two.npz", 2), rows(tmp_path / "source.npz", 5, names="ghijkl"), steps=60)
    shared = tmp_path / "shared"
    words = [*study, "--out", shared, "--lease", "2"]
    victim = start([*words, "--shard", "1/2"])
    leases = tmp_path / "shared.partial" / "leases"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (leases.is_dir() and len(list((tmp_path / "shared.partial" / "cells").glob("*.npz"))) > 1):
        time.sleep(0.02)
    while time.monotonic() < deadline and not [p for p in leases.iterdir() if "~" in p.name and not p.name.startswith(".")]:
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert [p for p in leases.iterdir() if not p.name.startswith(".")], "killed between two cells: nothing to take over"
    survivor = fewtune(*words, "--shard", "2/2")
    assert survivor.code == 0 and "are done" in survivor.err, survivor.err
    assert fewtune("merge", shared).code == 0
    assert fewtune(*study, "--out", tmp_path / "serial").code == 0
    same_run(shared, tmp_path / "serial")


def test_finished_runs_become_one(fewtune: Run, tmp_path: Path) -> None:
    data, few = rows(tmp_path / "one.npz", 1), ("--episodes", "20", "--queries", "4", "--ways", "3", "--shots", "1", "2")
    for name, methods in (("a", ["centroid"]), ("b", ["ridge", "matching"]), ("both", ["centroid", "ridge", "matching"])):
        assert fewtune("compare", data, "--method", *methods, *few, "--out", tmp_path / name).code == 0
    merged = fewtune("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "whole", "--format", "json")
    assert merged.code == 0, merged.err
    mine, theirs = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "both"))
    key = lambda x: (x["shots"], x["method"])  # noqa: E731
    assert sorted(mine, key=key) == sorted(theirs, key=key)
    assert np.array_equal(*(pq.read_table(tmp_path / name / "result.parquet")["value"].to_numpy().sum() for name in ("whole", "both")))
    twice = fewtune("merge", tmp_path / "a", tmp_path / "both", "--out", tmp_path / "x")
    assert twice.code == 2 and "method 'centroid' is in two of the runs" in twice.err
    other = fewtune("compare", data, "--method", "svm", *few, "--seeds", "3", "--out", tmp_path / "c")
    assert other.code == 0
    apart = fewtune("merge", tmp_path / "a", tmp_path / "c", "--out", tmp_path / "x")
    assert apart.code == 2 and "no run has 'svm' on one, precomputed, 3-way 1-shot, seed 0" in apart.err
    lone = fewtune("merge", tmp_path / "a")
    assert lone.code == 2 and "holds no cells to merge" in lone.err
    unnamed = fewtune("merge", tmp_path / "a", tmp_path / "b")
    assert unnamed.code == 2 and "give --out FOLDER" in unnamed.err


def test_a_dry_run_prints_the_cells_and_runs_none(fewtune: Run, study: list[object], tmp_path: Path) -> None:
    ran = fewtune(*study, "--dry-run", "--out", tmp_path / "never")
    assert ran.code == 0, ran.err
    assert "lr=0.001" in ran.out and "18 cells, about" in " ".join(ran.out.split()) and not list(tmp_path.glob("never*"))
    engine = fewtune(*study, "--dry-run", "--out", tmp_path / "never", "--on", "ray")
    assert engine.code == 0 and "18 cells, about" in " ".join(engine.out.split()) and not list(tmp_path.glob("never*")), engine.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "3/2", "--out", "x"), "i from 1 to n"),
        (("--shard", "half", "--out", "x"), "--shard is i/n"),
        (("--shard", "1/2"), "give --out FOLDER"),
        (("--cells", "3"), "--cells is for --shard"),
        (("--lease", "5"), "--lease is for the workers of --shard or --on"),
        (("--on", "spark", "--out", "x"), "--on is ray, ray:ADDRESS or slurm, found spark"),
        (("--on", "ray", "--shard", "1/2", "--out", "x"), "give one of them"),
        (("--shard", "1/2", "--out", "x", "--overwrite"), "nothing is replaced"),
        (("--on", "slurm", "--out", "x"), "--jobs N"),
    ],
)
def test_flags_that_do_not_fit(words: tuple[str, ...], said: str, fewtune: Run, embeddings: Path, tmp_path: Path) -> None:
    ran = fewtune("compare", embeddings, *(tmp_path / "x" if word == "x" else word for word in words))
    assert ran.code == 2 and (said in ran.err or ("submitit" in ran.err and "slurm" in words)), ran.err


def test_the_words_of_workers() -> None:
    given = ["compare", "d.npz", "--on", "ray:auto", "--jobs", "2", "--out", "o", "--shots", "1"]
    made = worker_commands(given, 2)
    assert made == [["compare", "d.npz", "--out", "o", "--shots", "1", "--quiet", "--shard", f"{i}/2"] for i in (1, 2)]
    assert worker_commands(["compare", "--on=slurm", "--jobs=3", "--quiet"], 1) == [["compare", "--quiet", "--shard", "1/1"]]


class Engine:
    """What the code uses of Ray, in this process: remote functions run when they are asked for."""

    started = False

    def is_initialized(self) -> bool:
        return self.started

    def init(self, address: str | None, **options: object) -> None:
        assert address is None and set(options) == {"log_to_driver", "include_dashboard"}
        self.started = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **options: object) -> Callable[[Callable[..., object]], object]:
        assert options["num_cpus"] == 1

        def made(function: Callable[..., object]) -> object:
            return type("Remote", (), {"remote": staticmethod(lambda *given: lambda: function(*given))})

        return made

    def get(self, waiting: list[Callable[[], object]]) -> list[object]:
        return [one() for one in waiting]

    def shutdown(self) -> None:
        self.started = False


@pytest.mark.slow
def test_on_an_engine_the_study_is_run_and_merged(
    fewtune: Run, study: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.cli.on_ray._ray", Engine)
    ran = fewtune(*study, "--out", tmp_path / "on", "--on", "ray", "--format", "json")
    assert ran.code == 0, ran.err
    assert fewtune(*study, "--out", tmp_path / "serial").code == 0
    same_run(tmp_path / "on", tmp_path / "serial")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "slurm:local"])
def test_on_a_local_cluster_the_study_is_run_and_merged(engine: str, fewtune: Run, study: list[object], tmp_path: Path) -> None:
    pytest.importorskip("ray" if engine == "ray" else "submitit")
    ran = fewtune(*study, "--out", tmp_path / "on", "--on", engine, "--jobs", "2", "--lease", "20", "--format", "json")
    assert ran.code == 0, ran.err
    assert fewtune(*study, "--out", tmp_path / "serial").code == 0
    same_run(tmp_path / "on", tmp_path / "serial")


def test_workers_that_all_fail_are_said(tmp_path: Path) -> None:
    from fewtune.cli.engines import check_ended

    code, said = run_worker(["compare", "absent.npz"], str(tmp_path), {})
    assert code == 2 and "absent.npz" in said
    with pytest.raises(InputError, match=r"all 2 workers ended with an error, the first: .*absent\.npz"):
        check_ended([(code, said)] * 2)
    check_ended([(0, ""), (code, said)])
