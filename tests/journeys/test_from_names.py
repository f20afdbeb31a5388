"""No labelled example yet: a model from class names, by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.models.bundle import load_bundle
from tests.journeys.conftest import Ran
from tests.tiny import save_bert

Run = Callable[..., Ran]


def test_names_make_a_model_that_predicts(fewtune: Run, tmp_path: Path) -> None:
    bert, out = tmp_path / "bert", tmp_path / "run"
    bert.mkdir()
    save_bert(bert)
    ran = fewtune("adapt", "--classes", "cat", "red bird", "--backbone", f"hf:{bert}", "--out", out, "--threshold", 0.2, "--quiet")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Nobody can tell yet how often the answer to a new text will be right; guessing would get 1 of 2.\n")
    assert "Not tested: the model has seen the names of the classes and no labelled example." in ran.out
    assert f"fewtune evaluate {out} LABELLED_DATA" in ran.out and f"Saved to {out}." in ran.out
    assert load_bundle(out).class_names == ("cat", "red bird") and load_bundle(out).threshold == 0.2
    asked = tmp_path / "new.csv"
    asked.write_text("text\ncat\nred bird\n")
    ran = fewtune("predict", out, asked, "--format", "json", "--quiet")
    assert ran.code == 0, ran.err
    assert [one["label"] for one in json.loads(ran.out)] == ["cat", "red bird"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--classes", "cat", "dog"), "needs the name of a backbone that reads class names"),
        (("--classes", "cat", "dog", "--backbone", "small"), "needs the name of a backbone that reads class names"),
        (("--classes", "cat", "--backbone", "pixels"), "two or more classes, found 1"),
        (("photos", "--classes", "cat", "dog"), "without labelled examples: leave DATA out"),
        (("--classes", "cat", "dog", "--source", "photos"), "leave --source out"),
        (("--classes", "cat", "dog", "--finetune", "own"), "leave --finetune out"),
        (("--classes", "cat", "dog", "--skip-bad"), "leave what says how data is read out"),
        (("--classes", "cat", "dog", "--backbone", "pixels"), "pixels cannot read class names"),
    ],
)
def test_what_does_not_fit_is_said(
    arguments: tuple[str, ...], said: str, fewtune: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    ran = fewtune("adapt", *arguments)
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1 and not (photos.parent / "runs").exists()
