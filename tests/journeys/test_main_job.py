"""adapt, then predict: on a folder of photos and on embeddings."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewtune.files import sealed
from fewtune.models.bundle import load_bundle
from tests.journeys.conftest import SHAPES, Ran, draw

Run = Callable[..., Ran]
PIXELS = ("--backbone", "pixels,size=12")


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def test_adapt_says_what_it_understood_what_to_expect_and_what_to_type(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "circle" / "notes.doc").write_text("not a photo")
    ran = fewtune("adapt", photos, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    for expected in (
        "24 photos, 3 classes, 8 examples a class",
        "All work from here takes about",
        "embedding 24 photos (about ",
        ", less where they were embedded before), comparing learners, and the report.",
        "notes.doc",
        "on cpu",
        "new photos will be right",
        "guessing would get 1 of 3",
        "What to do next:",
        "Accuracy to expect",
        "fewtune ",
    ):
        assert expected in ran.out
    for learner in ("centroid", "matching", "ridge", "logistic", "blend"):
        assert learner in ran.out
    for shape in SHAPES:
        assert shape in ran.out
    card = (tmp_path / "run" / "README.md").read_text()
    assert "pixels,size=12" in card and "circle" in card


def test_nothing_saved_is_a_pickle(model: Path) -> None:
    kept = ["README.md", "fewtune.json", "head.safetensors", "report.html", "support.safetensors"]
    assert sorted(p.name for p in model.iterdir()) == kept


def test_predict_keeps_the_order_given_and_walks_folders(fewtune: Run, model: Path, tmp_path: Path) -> None:
    more = tmp_path / "more" / "deep"
    more.mkdir(parents=True)
    for i in (10, 9):
        draw("square", 900 + i).save(more / f"{i}.png")
    draw("circle", 950).save(tmp_path / "one.jpg")
    ran = fewtune("predict", model, tmp_path / "one.jpg", tmp_path / "more", tmp_path / "one.jpg", "--format", "json", "--quiet")
    assert ran.code == 0, ran.err
    answers = json.loads(ran.out)
    inputs = [tmp_path / "one.jpg", more / "9.png", more / "10.png", tmp_path / "one.jpg"]
    assert [a["input"] for a in answers] == [str(i) for i in inputs]
    for a in answers:
        assert set(a) == {"input", "label", "probability", "scores"}
        assert a["label"] == max(a["scores"], key=a["scores"].__getitem__)
        assert a["probability"] == a["scores"][a["label"]] and abs(sum(a["scores"].values()) - 1) < 1e-9
    assert answers[0] == answers[3]


def test_the_saved_model_answers_as_the_learner_did(fewtune: Run, embeddings: Path, tmp_path: Path) -> None:
    """Predictions through the bundle equal scikit-learn's logistic regression on the same rows."""
    from sklearn.linear_model import LogisticRegression

    ran = fewtune("adapt", embeddings, "--method", "logistic(C=3)", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    data = np.load(embeddings)
    np.savez(tmp_path / "new.npz", x=data["x"] + 0.5)
    answers = json.loads(fewtune("predict", tmp_path / "run", tmp_path / "new.npz", "--format", "json").out)
    unit = data["x"] / np.linalg.norm(data["x"], axis=1, keepdims=True)
    new = data["x"] + 0.5
    twin = LogisticRegression(C=3, tol=1e-8, max_iter=1000).fit(unit, data["y"])
    expected = twin.predict(new / np.linalg.norm(new, axis=1, keepdims=True))
    agree = np.mean([a["label"] == f"class {e}" for a, e in zip(answers, expected, strict=True)])
    assert agree >= 0.999


def test_predict_from_tables_names_rows(fewtune: Run, model: Path, tmp_path: Path) -> None:
    draw("circle", 1).save(tmp_path / "a.png")
    draw("square", 2).save(tmp_path / "b.png")
    (tmp_path / "list.csv").write_text("path\nb.png\na.png\n")
    ran = fewtune("predict", model, tmp_path / "list.csv", "--format", "csv", "--quiet")
    assert ran.code == 0, ran.err
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [r["input"] for r in rows] == [f"{tmp_path / 'list.csv'}:2", f"{tmp_path / 'list.csv'}:3"]
    assert set(rows[0]) == {"path", "input", "label", "probability", *SHAPES} and [r["path"] for r in rows] == ["b.png", "a.png"]
    single = json.loads(fewtune("predict", model, tmp_path / "b.png", "--format", "json").out)
    assert single[0]["label"] == rows[0]["label"]


def test_predict_abstains_below_the_threshold(fewtune: Run, model: Path, photos: Path) -> None:
    answers = json.loads(fewtune("predict", model, photos, "--threshold", "1", "--format", "json").out)
    assert [a["label"] for a in answers] == [None] * 24 and all(a["scores"] for a in answers)
    assert "abstains" in fewtune("predict", model, photos, "--threshold", "1").out


def test_a_changed_newer_or_missing_model_is_refused(fewtune: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        ran = fewtune("predict", folder, photos)
        assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1
        return ran.err

    changed = shutil.copytree(model, tmp_path / "changed")
    content = bytearray((changed / "head.safetensors").read_bytes())
    content[-1] ^= 1
    (changed / "head.safetensors").write_bytes(content)
    assert "sha256 differs" in refused(changed)
    newer = shutil.copytree(model, tmp_path / "newer")
    record = json.loads((newer / "fewtune.json").read_text())
    (newer / "fewtune.json").write_bytes(sealed({**record, "format": 99}))
    assert "upgrade fewtune" in refused(newer)
    (newer / "fewtune.json").write_bytes(sealed({**record, "state": 1, "method": "evil()"}))
    assert "unknown name 'evil'" in refused(newer)
    (newer / "fewtune.json").write_text(json.dumps({**record, "class_names": record["class_names"][::-1]}))
    assert "its digest differs" in refused(newer)
    assert "no saved model" in refused(tmp_path / "absent")


def test_one_example_a_class_says_what_it_could_not_estimate(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    for shape in SHAPES:
        for photo in sorted((photos / shape).iterdir())[1:]:
            photo.unlink()
    ran = fewtune("adapt", photos, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "nothing could be held out" in ran.out and "Accuracy to expect" not in ran.out
    assert load_bundle(tmp_path / "run").facts["expected_accuracy"] is None


def test_a_test_split_is_measured_once_and_never_learned_from(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    for shape in SHAPES:
        for i, photo in enumerate(sorted((photos / shape).iterdir())):
            to = split / ("train" if i < 5 else "test") / shape
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, to)
    ran = fewtune("adapt", split, *PIXELS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "Measured once on the 9 rows" in ran.out
    facts = load_bundle(tmp_path / "run").facts
    assert facts["rows"] == 15 and set(facts["shots"].values()) == {5}
    assert 0 <= facts["measured_accuracy"]["mean"] <= 1
