"""`fewtune embed`: features in shares, which compare then reads."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.journeys.conftest import Ran
from tests.journeys.test_compare_many import rows

Run = Callable[..., Ran]


def test_shares_are_embedded_and_joined(fewtune: Run, tmp_path: Path) -> None:
    data, cache = rows(tmp_path / "d.npz", 1), tmp_path / "cache"
    asked = ("embed", data, "--backbone", "mlp,inputs=8,width=8", "--chunk", 8, "--cache", cache, "--quiet")
    first = fewtune(*asked, "--shard", "1/2")
    assert first.code == 0 and "rows embedded; 1 of 2 shares still missing" in first.out, first.err + first.out
    second = fewtune(*asked, "--shard", "2/2")
    assert "the table of 60 rows is complete" in second.out, second.err
    assert "0 rows embedded; the table of 60 rows is complete" in fewtune(*asked).out
    wrong = fewtune(*asked, "--shard", "3/2")
    assert wrong.code == 2 and "--shard is i/n" in wrong.err


def features(cache: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(cache.glob("*.npy"))]


def test_archives_and_parquet_give_the_features_of_a_folder(fewtune: Run, tmp_path: Path) -> None:
    """The same photos in the same order: the same table, so that what was embedded from one is not embedded again from another."""
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    for kind in ("red", "blue"):
        (folder / kind).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((9, 8, 3), 40 * i + 20 * (kind == "red"), dtype=np.uint8)).save(folder / kind / f"{i}.png")
    files = sorted(folder.rglob("*.png"))
    with tarfile.open(tmp_path / "photos.tar", "w") as made:
        for place, file in enumerate(files):
            made.add(file, f"{place:03}.png")
            label = tarfile.TarInfo(f"{place:03}.cls")
            label.size = len(file.parent.name)
            made.addfile(label, io.BytesIO(file.parent.name.encode()))
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, part in enumerate((files[:2], files[2:])):
        columns = {"image": [file.read_bytes() for file in part], "label": [file.parent.name for file in part]}
        pq.write_table(pa.table(columns), shards / f"part-{number}.parquet")
    asked = ("--backbone", "pixels", "--cache", cache, "--quiet")
    assert "6 rows embedded" in fewtune("embed", folder, *asked).out
    for other in (tmp_path / "photos.tar", shards):
        ran = fewtune("embed", other, *asked)
        assert ran.code == 0 and "0 rows embedded; the table of 6 rows is complete" in ran.out, ran.err + ran.out
    compared = fewtune(
        "compare", tmp_path / "photos.tar", *asked, "--method", "centroid", "--ways", 2, "--shots", 1, "--queries", 1, "--episodes", 5
    )
    assert compared.code == 0, compared.err
    adapted = fewtune("adapt", shards, *asked, "--finetune", "never", "--out", tmp_path / "run")
    assert adapted.code == 0, adapted.err
    told = fewtune("predict", tmp_path / "run", tmp_path / "photos.tar", "--quiet")
    assert told.code == 0 and told.out.count("photos.tar") == 6, told.err + told.out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--on", "slurm"), "--on is ray or ray:ADDRESS, found slurm"),
        (("--on", "ray", "--shard", "1/2"), "give one of them"),
        (("--jobs", "2"), "--jobs is how many shares --on makes, found 2 without --on"),
    ],
)
def test_flags_of_engines_that_do_not_fit_are_refused(given: tuple[str, ...], said: str, fewtune: Run, tmp_path: Path) -> None:
    ran = fewtune("embed", rows(tmp_path / "d.npz", 1), *given)
    assert ran.code == 2 and said in ran.err


def test_without_ray_one_sentence_says_so(fewtune: Run, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is here")
    ran = fewtune("embed", rows(tmp_path / "d.npz", 1), "--backbone", "mlp,inputs=8", "--on", "ray")
    assert ran.code == 2 and "--on ray needs Ray: pip install 'fewtune[ray]'." in ran.err


def test_shares_that_fail_are_said(fewtune: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("fewtune.cli.on_ray.run_shares", lambda *_: [(0, "a"), (2, "fewtune: no room.")])
    ran = fewtune("embed", rows(tmp_path / "d.npz", 1), "--backbone", "mlp,inputs=8", "--on", "ray")
    assert ran.code == 2 and "1 of 2 shares were not embedded, the first: no room." in ran.err


def test_shares_that_do_not_see_each_other_are_said(fewtune: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("fewtune.cli.on_ray.run_shares", lambda *_: [(0, "9 rows embedded; 1 of 2 shares still missing.")] * 2)
    ran = fewtune("embed", rows(tmp_path / "d.npz", 1), "--backbone", "mlp,inputs=8", "--on", "ray")
    assert ran.code == 2 and "do not see each other's features: give --cache" in ran.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_writes_the_table_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = rows(tmp_path / "d.npz", 1)
    asked = ["embed", str(data), "--backbone", "mlp,inputs=8,width=8", "--chunk", "8", "--quiet"]
    for name, more in (("one", []), ("ray", ["--on", "ray", "--jobs", "3"])):
        command = [sys.executable, "-m", "fewtune", *asked, "--cache", str(tmp_path / name), *more]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0 and "the table of 60 rows is complete" in ran.stdout, ran.stderr + ran.stdout
    [whole] = features(tmp_path / "one")
    assert features(tmp_path / "ray") == [whole]
