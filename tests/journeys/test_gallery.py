"""The site's outputs and notebooks are made by scripts that run."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted(path.stem for path in (DOCS / "notebooks").glob("*.py"))
STORIES = ("photos", "texts", "tables", "features")


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "gallery" / "make.py"), run_name="gallery")


def commands(said: str) -> list[str]:
    return re.findall(r"^\$ .*$", said, re.MULTILINE)


def sentences(said: str) -> list[str]:
    """Lines without numbers, which are the same wherever the story is told."""
    return sorted({line for line in said.splitlines() if re.fullmatch(r"[A-Z][^0-9]{12,}[.:]", line)})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", STORIES)
def test_a_story_is_told_as_the_page_has_it(story: str, made: dict[str, Any]) -> None:
    if story == "texts":
        pytest.importorskip("fewtune.backbones.providers.demo_encoder").demo_encoder() or pytest.skip("the extra demo is not installed")
    committed = (DOCS / "gallery" / f"{story}.txt").read_text(encoding="utf-8")
    told = made["told"](made["STORIES"][story])
    assert commands(told) == commands(committed)
    assert set(sentences(committed)) <= set(sentences(told))
    assert abs(len(told.splitlines()) - len(committed.splitlines())) <= 5


def test_all_stories_stand_on_pages(made: dict[str, Any]) -> None:
    assert tuple(made["STORIES"]) == STORIES
    for story in STORIES:
        assert f'--8<-- "gallery/{story}.txt"' in (DOCS / "start" / f"{story}.md").read_text(encoding="utf-8")


def test_the_drawing_is_what_the_script_draws(made: dict[str, Any], tmp_path: Path) -> None:
    made["algebra"](tmp_path / "algebra.svg")
    words = re.findall(r"<!-- (.*?) -->", (tmp_path / "algebra.svg").read_text(encoding="utf-8"))
    assert words and words == re.findall(r"<!-- (.*?) -->", (DOCS / "gallery" / "algebra.svg").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_offline(notebook: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    script = DOCS / "notebooks" / f"{notebook}.py"
    done = subprocess.run([sys.executable, str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_both_forms_of_a_notebook_hold_the_same_cells(notebook: str) -> None:
    script = (DOCS / "notebooks" / f"{notebook}.py").read_text(encoding="utf-8")
    written = [part.split("\n", 1) for part in script.split("# %%")[1:]]
    cells = json.loads((DOCS / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert len(cells) == len(written)
    for cell, (kind, body) in zip(cells, written, strict=True):
        assert (cell["cell_type"] == "markdown") == ("markdown" in kind)
        lines = [re.sub(r"^# ?", "", line) for line in body.splitlines()] if "markdown" in kind else body.splitlines()
        assert "".join(cell["source"]).strip() == "\n".join(lines).strip()
        assert not cell.get("outputs")
