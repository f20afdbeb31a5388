"""What is done with a saved model besides predicting: evaluate, add-class, export."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fewtune.files import written
from fewtune.stopping import Stopped
from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]
PIXELS = ("--backbone", "pixels,size=12", "--method", "ridge")


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


@pytest.fixture
def unseen(tmp_path: Path) -> Path:
    """Five new photos of each shape."""
    for k, shape in enumerate(SHAPES):
        (tmp_path / "unseen" / shape).mkdir(parents=True)
        for i in range(5):
            draw(shape, 500 + 100 * k + i).save(tmp_path / "unseen" / shape / f"{i}.png")
    return tmp_path / "unseen"


def crosses(folder: Path, count: int = 4) -> Path:
    """Photos of a shape that the model has not met."""
    folder.mkdir(parents=True)
    for i in range(count):
        image = draw("square", 700 + i)
        ImageDraw.Draw(image).line((0, 0, 47, 47), fill=(255, 0, 0), width=9)
        image.save(folder / f"{i}.png")
    return folder


def refused(ran: Ran) -> str:
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1, ran
    return ran.err


def answers(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [a["label"] for a in json.loads(ran.out)]


def test_evaluate_agrees_with_predict(fewtune: Run, model: Path, unseen: Path) -> None:
    ran = fewtune("evaluate", model, unseen, "--format", "json", "--quiet")
    assert ran.code == 0 and ran.err == "", ran.err
    record = json.loads(ran.out)
    predicted = answers(fewtune("predict", model, unseen, "--format", "json", "--quiet"))
    true = [shape for shape in SHAPES for _ in range(5)]
    assert record["rows"] == 15 and record["accuracy"]["mean"] == np.mean([p == t for p, t in zip(predicted, true, strict=True)])
    for k, shape in enumerate(SHAPES):
        mine = predicted[5 * k : 5 * k + 5]
        assert record["classes"][k] == {"class": shape, "rows": 5, "recall": mine.count(shape) / 5}
        assert record["confusion"][k] == [mine.count(other) for other in SHAPES]
    said = fewtune("evaluate", model, unseen)
    assert said.code == 0 and "Accuracy on 15 rows of unseen" in said.out and "Confusion matrix" in said.out
    lines = said.out.splitlines()
    assert re.fullmatch(r"About \d+ of 10+ new photos will be right \(\d+ to \d+ of 10+\); guessing would get 1 of 3\.", lines[0]), lines[0]
    assert re.match("(Ready to use|Usable if somebody checks its answers|Not ready to use): ", lines[1]), lines[1]
    assert lines[2] == "Measured on 15 photos of unseen."
    assert record["verdict"] == lines[:3]


def test_evaluate_leaves_out_what_was_learned_from(fewtune: Run, model: Path, photos: Path, unseen: Path) -> None:
    err = refused(fewtune("evaluate", model, photos))
    assert "leaves no row to evaluate on: 24 rows are left out" in err and "learned from" in err and "--include-learned" in err
    assert "Accuracy on 24 rows" in fewtune("evaluate", model, photos, "--include-learned").out
    for shape in SHAPES:
        shutil.copy(photos / shape / "00.jpg", unseen / shape / "known.jpg")
    ran = fewtune("evaluate", model, unseen)
    assert "Accuracy on 15 rows" in ran.out and "3 rows were left out" in ran.out and "known.jpg" in ran.out


def test_evaluate_refuses_what_it_cannot_measure(fewtune: Run, model: Path, unseen: Path, tmp_path: Path) -> None:
    crosses(unseen / "cross")
    err = refused(fewtune("evaluate", model, unseen))
    assert "does not have: cross; its classes are circle, square, triangle" in err and "--skip-unknown" in err
    ran = fewtune("evaluate", model, unseen, "--skip-unknown")
    assert ran.code == 0 and "4 rows were left out" in ran.out and "(cross)" in ran.out
    shutil.rmtree(unseen / "cross")
    (unseen / "circle" / "bad.png").write_bytes(b"\x89PNG not quite")
    assert "bad.png" in refused(fewtune("evaluate", model, unseen))
    assert "bad.png" in fewtune("evaluate", model, unseen, "--skip-bad").out
    (tmp_path / "list.csv").write_text("path\nunseen/circle/0.png\n")
    assert "holds no labels" in refused(fewtune("evaluate", model, tmp_path / "list.csv"))
    assert "does not exist" in refused(fewtune("evaluate", model, tmp_path / "absent"))
    assert "no saved model" in refused(fewtune("evaluate", tmp_path / "absent", unseen))
    assert "between 0 and 1" in refused(fewtune("evaluate", model, unseen, "--threshold", "2"))


def test_a_class_is_added_in_place(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    new = crosses(tmp_path / "cross")
    before = answers(fewtune("predict", model, photos, "--format", "json", "--quiet"))
    ran = fewtune("add-class", model, "cross", new, "--quiet")
    assert f"This replaced the model in {model}; --out NEW would have kept it." in ran.out
    assert ran.code == 0 and ran.err == "", ran.err
    assert (
        "Class cross was added from 4 examples" in ran.out
        and "by cross-validation on the 28 examples" in ran.out
        and f"fewtune predict {model}" in ran.out
    )
    page = (model / "report.html").read_text()
    assert "with more examples" in page and "cross" in page and "report.html" in (written(model) or ())
    assert answers(fewtune("predict", model, new, "--format", "json", "--quiet")) == ["cross"] * 4
    after = answers(fewtune("predict", model, photos, "--format", "json", "--quiet"))
    assert np.mean([a == b for a, b in zip(before, after, strict=True)]) > 0.8
    assert "cross" in (model / "README.md").read_text() and "knows" not in (model / "README.md").read_text()
    assert sorted(p.name for p in model.parent.iterdir() if p.name.startswith(".")) == []
    assert "leaves no row" in refused(fewtune("evaluate", model, photos))  # still known as learned from
    assert "no new example is left of 4 rows" in refused(fewtune("add-class", model, "cross", new, "--more"))


def test_a_class_is_added_to_a_copy(fewtune: Run, model: Path, tmp_path: Path) -> None:
    new = crosses(tmp_path / "cross")
    content = {p.name: p.read_bytes() for p in model.iterdir()}
    assert fewtune("add-class", model, "cross", new / "0.png", new / "1.png", "--out", tmp_path / "larger").code == 0
    assert "with more examples" in (tmp_path / "larger" / "report.html").read_text()
    assert {p.name: p.read_bytes() for p in model.iterdir()} == content
    assert set(json.loads(fewtune("predict", tmp_path / "larger", new, "--format", "json").out)[0]["scores"]) == {*SHAPES, "cross"}
    assert "exists already" in refused(fewtune("add-class", model, "cross", new, "--out", tmp_path / "larger"))


def test_add_class_refuses_what_is_no_new_class(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    new = crosses(tmp_path / "cross")
    content = {p.name: p.read_bytes() for p in model.iterdir()}
    assert "'circle' already" in refused(fewtune("add-class", model, "circle", new))
    assert "no class 'cross'" in refused(fewtune("add-class", model, "cross", new, "--more"))
    assert "already an example of 'circle'" in refused(fewtune("add-class", model, "cross", photos / "circle" / "00.jpg", new))
    assert "FILES_OR_FOLDER" in refused(fewtune("add-class", model, new))
    assert "expected the name" in refused(fewtune("add-class", model, " ", new))
    (new / "bad.png").write_bytes(b"no image")
    assert "bad.png" in refused(fewtune("add-class", model, "cross", new))
    assert {p.name: p.read_bytes() for p in model.iterdir()} == content
    ran = fewtune("add-class", model, "cross", new, photos / "circle" / "00.jpg", "--skip-bad")
    assert ran.code == 0 and "from 4 examples" in ran.out and "2 rows were left out" in ran.out


def test_the_exported_file_answers_alone(fewtune: Run, model: Path, unseen: Path) -> None:
    """By its metadata, Pillow and onnxruntime, as another program would use it."""
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    ran = fewtune("export", model, unseen, "--format", "onnx", "--quiet")
    assert ran.code == 0 and ran.err == "", ran.err
    assert b'.py"' not in (model / "model.onnx").read_bytes()  # no path of this machine
    assert "model.onnx" in (written(model) or ())
    assert ran.out.count("\n") == 4 and "Checked with onnxruntime on 15 rows in batches of 1, 2, 3, 15" in ran.out
    session = ort.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert "resized to 12 x 12" in said["how_to_prepare"] and "bilinear" in said["how_to_prepare"]
    files = [file for shape in SHAPES for file in sorted((unseen / shape).iterdir())]
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    found = session.run(None, {"pixels_0_255": np.stack(pixels)})[0]
    assert {"model.md", "model_predict.py", "model_predict.mjs"} <= (written(model) or {}).keys()
    own = json.loads(fewtune("predict", model, *files, "--format", "json", "--quiet").out)
    np.testing.assert_allclose(found, [[a["scores"][c] for c in json.loads(said["class_names"])] for a in own], atol=1e-5)
    assert "sha256" in refused(_damaged(fewtune, model))


def test_an_export_that_is_stopped_says_that_nothing_is_kept(fewtune: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr("fewtune.models.export.export_onnx", stopped)
    ran = fewtune("export", model, "--quiet")
    assert ran.code == 75 and ran.err == "fewtune: stopped; no graph was written: the same command begins again.\n"


def _damaged(fewtune: Run, model: Path) -> Ran:
    (model / "support.safetensors").write_bytes(b"")
    return fewtune("export", model)
