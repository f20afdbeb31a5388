"""Somebody makes an image-text model of two encoders by one command, and uses it by names and by examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import Ran, draw
from tests.tiny import save_bert, save_vit

Run = Callable[..., Ran]


@pytest.fixture
def towers(tmp_path: Path) -> tuple[object, ...]:
    save_vit(tmp_path / "vit")
    save_bert(tmp_path / "bert")
    return ("--image", f"hf:{tmp_path / 'vit'}", "--text", f"hf:{tmp_path / 'bert'}", "--device", "cpu", "--quiet")


def test_captions_make_an_image_text_model(fewtune: Run, tmp_path: Path, towers: tuple[object, ...]) -> None:
    for i in range(24):
        draw("circle" if i % 2 else "square", i).save(tmp_path / f"{i}.png")
    rows = [{"path": f"{i}.png", "caption": f"a {'big cat' if i % 2 else 'red dog'} on mat {i}"} for i in range(24)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "clip"
    ran = fewtune("align", tmp_path / "pairs.jsonl", *towers, "--steps", 3, "--batch", 8, "--most", 20, "--out", out)
    assert ran.code == 0 and "pairs.jsonl: 20 captions" in ran.out.replace("pairs:", "pairs.jsonl:"), ran
    assert "texts held out, and learned from in the end" in ran.out and f"--backbone run:{out}" in ran.err
    assert json.loads((out / "pretraining.json").read_text())["objective"] == "alignment" and (out / "report.html").is_file()
    for tower in ("vit", "bert"):
        shutil.rmtree(tmp_path / tower)  # the run needs them no more
    ran = fewtune("adapt", "--classes", "cat", "dog", "--backbone", f"run:{out}", "--out", tmp_path / "names", "--quiet")
    assert ran.code == 0, ran.err
    ran = fewtune("predict", tmp_path / "names", tmp_path / "3.png", "--format", "json", "--quiet")
    assert ran.code == 0 and json.loads(ran.out)[0]["label"] in ("cat", "dog"), ran.err
    shutil.rmtree(out / "backbone" / "text")
    ran = fewtune("predict", tmp_path / "names", tmp_path / "3.png", "--quiet")
    assert ran.code == 2 and "text/backbone.json is missing: copy the whole folder" in ran.err and ran.err.strip().count("\n") == 0, ran


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--template", "a photo"), "a prompt has one {} for the class name"),
        (("--text", "timm:mobilenetv2_100,pretrained=false"), "the second tower reads texts"),
        (("--image", "hf:nowhere/at-all"), "nowhere/at-all"),
        (("--image-weights", "gone.safetensors"), "gone.safetensors does not exist"),
        (("--steps", "-1"), "expected most, steps and tower_steps of at least 0"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    fewtune: Run, photos: Path, tmp_path: Path, towers: tuple[object, ...], given: tuple[str, ...], sentence: str
) -> None:
    pytest.importorskip("timm")
    kept = [flag for place, flag in enumerate(towers) if given[0] not in (flag, towers[place - 1] if place else "")]
    ran = fewtune("align", photos, *kept, *given, "--out", tmp_path / "run")
    assert ran.code == 2 and sentence in ran.err and ran.err.strip().count("\n") == 0, ran
    assert not (tmp_path / "run").exists() and not (tmp_path / "run.partial").exists()
