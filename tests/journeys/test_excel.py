"""An Excel sheet is taken wherever a CSV file is, with the same answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fewtune.data.excel import excel_bytes
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
PIXELS = ("--backbone", "pixels,size=12")


def test_the_main_job_from_a_sheet(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    rows = [(path.relative_to(tmp_path).as_posix(), path.parent.name) for path in sorted(photos.rglob("*.*"))]
    (tmp_path / "data.xlsx").write_bytes(excel_bytes(["photo", "label"], rows))
    (tmp_path / "data.csv").write_text("".join(f"{photo},{label}\n" for photo, label in [("photo", "label"), *rows]))
    found: dict[str, list[str]] = {}
    for kind in ("xlsx", "csv"):
        data, run = tmp_path / f"data.{kind}", tmp_path / f"run-{kind}"
        ran = fewtune("adapt", data, "--input", "photo", *PIXELS, "--method", "centroid", "--finetune", "never", "--out", run)
        assert ran.code == 0, ran.err
        for command in (
            ("predict", run, data),
            ("inspect", data),
            ("evaluate", run, data, "--include-learned"),
            ("compare", data, *PIXELS, "--method", "centroid", "--ways", 3, "--shots", 2, "--queries", 4, "--episodes", 20),
        ):
            ran = fewtune(*command, "--input", "photo", "--format", "json", *(("--quiet",) if command[0] != "inspect" else ()))
            assert ran.code == 0 and json.loads(ran.out), ran.err
            found.setdefault(kind, []).append(ran.out.replace(f"data.{kind}", "data").replace(f"run-{kind}", "run"))
    assert found["xlsx"] == found["csv"] and len(json.loads(found["csv"][0])) == 24


def test_a_damaged_sheet_is_one_sentence(fewtune: Run, tmp_path: Path) -> None:
    (tmp_path / "data.xlsx").write_bytes(excel_bytes(["text", "label"], [["a", "x"], ["b", "y"]])[:-100])
    for command in ("inspect", "adapt"):
        ran = fewtune(command, tmp_path / "data.xlsx", *(("--out", tmp_path / "run") if command == "adapt" else ()))
        assert ran.code == 2 and "data.xlsx cannot be read as an Excel workbook" in ran.err and ran.err.count("\n") == 1
