"""demo and inspect, as a newcomer types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.backbones.providers.demo_encoder import demo_encoder
from fewtune.models.bundle import load_bundle
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
LEARNERS = ("centroid", "matching", "ridge", "logistic", "blend")


@pytest.mark.slow
def test_the_demo_runs_on_real_text_with_a_real_encoder(fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if demo_encoder() is None:
        pytest.skip("the extra `demo` is not installed")
    monkeypatch.chdir(tmp_path)
    ran = fewtune("demo", "--budget", "visits=400", "--quiet")
    assert ran.code == 0, ran.err
    for expected in ("all-MiniLM-L6-v2", "docstrings", "It read public code", "Accuracy to expect", "Measured once", "unseen", "--text"):
        assert expected in ran.out, expected
    for learner in (*LEARNERS, "zero-shot", "ridge with class names"):
        assert learner in ran.out
    facts = load_bundle(tmp_path / "runs" / "demo").facts
    low, high = facts["expected_accuracy"]["low"], facts["expected_accuracy"]["high"]
    assert low <= facts["measured_accuracy"]["mean"] <= high  # the promise was kept on 594 unseen rows
    assert facts["measured_accuracy"]["mean"] > 0.65  # 8 classes
    again = fewtune("predict", "runs/demo", "--text", "Solve a linear system with a banded matrix.", "--format", "json")
    assert json.loads(again.out)[0]["label"] == "linalg"
    assert fewtune("demo", "--quiet", "--shots", "2", "--budget", "visits=1").code == 0  # an earlier demo is replaced


@pytest.mark.slow
def test_without_the_encoder_the_demo_shows_digits_and_says_so(fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewtune.backbones.providers.demo_encoder.demo_encoder", lambda: None)
    ran = fewtune("demo", "--out", tmp_path / "run", "--quiet")
    assert ran.code == 0, ran.err
    assert "handwritten digits" in ran.out and "no foundation model" in ran.out and "fewtune[demo]" in ran.out
    assert load_bundle(tmp_path / "run").facts["measured_accuracy"]["mean"] > 0.8
    refused = fewtune("demo", "--out", tmp_path / "run")
    assert refused.code == 2 and "exists already" in refused.err


def test_a_model_file_that_is_not_the_one_we_know_is_refused(fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if demo_encoder() is None:
        pytest.skip("the extra `demo` is not installed")
    monkeypatch.setattr("fewtune.backbones.providers.demo_encoder.MODEL_SHA256", "0" * 64)
    ran = fewtune("demo", "--out", tmp_path / "run")
    assert ran.code == 2 and "not the expected one" in ran.err and not (tmp_path / "run").exists()


def test_inspect_says_what_is_there_and_what_is_wrong(fewtune: Run, photos: Path) -> None:
    clean = fewtune("inspect", photos)
    assert clean.code == 0 and "24 photos" in clean.out and "Nothing wrong was found" in clean.out
    (photos / "circle" / "broken.png").write_bytes(b"no image")
    (photos / "circle" / "twin.png").write_bytes((photos / "circle" / "01.png").read_bytes())
    (photos / "square" / "other.png").write_bytes((photos / "triangle" / "01.png").read_bytes())
    ran = fewtune("inspect", photos)
    assert ran.code == 0, ran.err
    for expected in ("broken.png", "twin.png", "different classes", "other.png"):
        assert expected in ran.out, expected
    facts = json.loads(fewtune("inspect", photos, "--format", "json").out)
    assert facts["rows"] == 27 and facts["counts"] == {"circle": 10, "square": 9, "triangle": 8} and len(facts["unreadable"]) == 1


def test_markup_in_names_stays_text(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "circle").rename(photos / "[bold]circle[red]")
    ran = fewtune("adapt", photos, "--backbone", "pixels,size=8", "--out", tmp_path / "run")
    assert ran.code == 0 and "[bold]circle[red]" in ran.out


@pytest.mark.slow
def test_the_demo_on_images_compares_methods_and_saves_a_model(fewtune: Run, tmp_path: Path) -> None:
    ran = fewtune("demo", "--images", "--out", tmp_path / "run", "--budget", "visits=400", "--quiet")
    assert ran.code == 0, ran.err
    for expected in (
        "scenes:counting",
        "never say how many",
        "zero-shot",
        "frozen, centroid",
        "MAMF",
        "multitask",
        "new photos will be right",
        "unseen",
    ):
        assert expected in ran.out, expected
    bundle = load_bundle(tmp_path / "run")
    assert bundle.class_names == ("1", "3", "5", "7", "9") and bundle.backbone.name == "embedded"
    assert bundle.facts["measured_accuracy"]["mean"] > 0.25  # five classes
    again = fewtune("predict", tmp_path / "run", "scenes:counting,rows=3,seed=9", "--format", "json")
    assert again.code == 0 and len(json.loads(again.out)) == 3
