"""A finetuned model is the backbone of the next one: what a user types, and what is left when the first folder is gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fewtune as package
from fewtune.api.adapted import Adapted
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.finetuned_weights import what_moved
from tests.journeys.conftest import Ran, draw

Run = Callable[..., Ran]


@pytest.fixture
def first(photos: Path, tmp_path: Path) -> Path:
    """A saved model whose backbone was finetuned."""
    start = package.load_backbone("conv4,size=16", machine=Machine(device="cpu"))
    g = torch.Generator().manual_seed(0)
    weights = {n: t + 0.05 * torch.randn(t.shape, generator=g) for n, t in start.start().items() if t.is_floating_point()}
    moved = what_moved(start, weights)
    assert moved is not None
    outcome = package.adapt(photos, backbone=start, method="ridge", cache=tmp_path / "cache").outcome
    outcome = replace(outcome, bundle=replace(outcome.bundle, moved=moved), backbone=moved.onto(start))
    return Adapted(outcome).save(tmp_path / "first")


@pytest.mark.slow
def test_from_one_run_to_the_next(fewtune: Run, first: Path, photos: Path, tmp_path: Path) -> None:
    ran = fewtune("adapt", photos, "--backbone", f"run:{first}", "--method", "ridge", "--out", tmp_path / "second", "--quiet")
    assert ran.code == 0 and "Backbone run:first: " in ran.out, ran.err
    shutil.rmtree(first)
    shutil.move(tmp_path / "second", tmp_path / "model")
    model, bundle = tmp_path / "model", load_bundle(tmp_path / "model")
    assert bundle.backbone.name == "conv4,size=16" and bundle.moved is not None and "finetuned in: run:first (digest " in bundle.card
    ran = fewtune("evaluate", model, photos, "--include-learned", "--format", "json", "--quiet")
    assert ran.code == 0 and json.loads(ran.out)["accuracy"]["mean"] > 0.9, ran.err
    new = tmp_path / "new"
    new.mkdir()
    for i in range(3):
        draw("circle", 900 + i).save(new / f"{i}.png")
    ran = fewtune("add-class", model, "circle", new, "--more", "--out", tmp_path / "larger", "--quiet")
    assert ran.code == 0 and load_bundle(tmp_path / "larger").moved is not None, ran.err
    ran = fewtune("predict", tmp_path / "larger", new, "--format", "json", "--quiet")
    assert ran.code == 0 and [answer["label"] for answer in json.loads(ran.out)] == ["circle"] * 3, ran.err
    ran = fewtune("export", model, "--quiet")
    assert ran.code == 0 and (model / "model.onnx").is_file(), ran.err


@pytest.mark.parametrize("name", ["run:", "run:nowhere", "run:photos"])
def test_what_is_no_run_is_refused_in_a_sentence(fewtune: Run, photos: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    for command in (("adapt", "photos", "--out", "out"), ("compare", "photos", "--ways", 3, "--shots", 1, "--queries", 2)):
        ran = fewtune(*command, "--backbone", name, "--quiet")
        assert ran.code == 2 and ran.err.count("\n") == 1 and ("run:FOLDER" in ran.err or "holds no saved model" in ran.err), ran
    assert not Path("out").exists()
