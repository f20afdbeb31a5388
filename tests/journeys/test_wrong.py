"""What `evaluate` lists as wrong: in the table, in JSON and on a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, "--backbone", "pixels,size=12", "--method", "ridge", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def test_wrong_answers_are_listed_and_shown(fewtune: Run, model: Path, tmp_path: Path) -> None:
    """Every circle lies in the folder of another class: each answer that says so is wrong, and only those are listed."""
    labelled = tmp_path / "la<b>elled"
    for k, shape in enumerate(SHAPES):
        (labelled / shape).mkdir(parents=True)
        for i in range(4):
            draw(SHAPES[(k + 1) % 3], 500 + 10 * k + i).save(labelled / shape / f"{i}<script>.png")
    answers = json.loads(fewtune("predict", model, labelled, "--threshold", "0", "--format", "json").out)
    expected = {(a["input"].removeprefix(f"{labelled}/"), a["label"], a["probability"]) for a in answers}
    expected = {one for one in expected if one[0].partition("/")[0] != one[1]}
    ran = fewtune("evaluate", model, labelled, "--format", "json", "--report", tmp_path / "wrong.html", "--quiet")
    assert ran.code == 0, ran.err
    wrong = json.loads(ran.out)["wrong"]
    assert {(w["input"], w["answered"], w["probability"]) for w in wrong} == expected and len(wrong) > 4
    assert all(w["true"] == w["input"].partition("/")[0] for w in wrong)
    assert [w["probability"] for w in wrong] == sorted((w["probability"] for w in wrong), reverse=True)
    page = (tmp_path / "wrong.html").read_text()
    assert page.count("data:image/") == len(wrong) and "<script" not in page and "la<b>elled" not in page
    assert f"{wrong[0]['true']} taken for {wrong[0]['answered']}" in page
    said = fewtune("evaluate", model, labelled).out
    assert "Answered wrongly" in said and wrong[0]["input"] in said
    for name, words in (("wrong.html", "exists already"), ("page.txt", "expected a name such as page.html"), ("la<b>elled", "a report is")):
        ran = fewtune("evaluate", model, labelled, "--report", tmp_path / name)
        assert ran.code == 2 and words in ran.err and ran.out == "", ran
    assert fewtune("evaluate", model, labelled, "--report", tmp_path / "wrong.html", "--overwrite").code == 0


def test_nothing_wrong(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    ran = fewtune("evaluate", model, photos, "--include-learned", "--report", tmp_path / "page.html")
    assert ran.code == 0 and ("Answered wrongly" in ran.out) == ("<h3>" in (tmp_path / "page.html").read_text())
